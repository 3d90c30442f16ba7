import { describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { createMesh, type Status } from '../harness/mesh.ts';
import { GREETING } from '../harness/nat-pairs.ts';
import { HELLO, labServices } from '../harness/services.ts';
import { startUpnpRouter } from '../harness/upnp-router.ts';

const SLOW = 30_000;
const protocolOf = ({ details }: Status) => (details?.portMapping as { protocol?: string } | undefined)?.protocol;
const verdictOf = ({ details }: Status) => (details?.reachability as { verdict?: string } | undefined)?.verdict;

describe('a router that maps ports', () => {
  it('makes a node behind a symmetric NAT dialable, by PCP and by UPnP, and forgets it when the agent stops', async () => {
    await using mesh = await createMesh({
      hosts: { a: { lan: 'home' }, b: { lan: 'office' }, server: { lan: 'internet' } },
      routers: { 'nat-a': { lan: 'home', nat: 'symmetric' }, 'nat-b': { lan: 'office', nat: 'symmetric' } },
    });
    const router = mesh.lab.router('nat-b');
    const rules = () => router.must('nft', ['list', 'chain', 'inet', 'filter', 'prerouting_miniupnpd']);
    const pcp = await startUpnpRouter(router, { pcp: true, upnp: false });
    await Promise.all([mesh.server('server'), mesh.backend('b')]);
    const options = { services: labServices(['b']), relays: [mesh.host('server').address()] };
    const [a, b] = await Promise.all([mesh.agent('a', options), mesh.agent('b', options)]);

    await b.until('a mapping that the relay has dialled', (s) => verdictOf(s) === 'public', SLOW);
    expect(protocolOf(await b.status())).toBe('pcp');
    expect((await curl(a.machine, `http://${HELLO}/`)).body).toBe(GREETING);
    const direct = await a.until('a direct path', (s) => s.peers.some(({ path }) => path === 'direct'), SLOW);
    expect(direct.peers[0]?.address).toBe(`${router.address()}:20006`);
    await a.until('a verdict', (s) => verdictOf(s) === 'private', SLOW);

    await pcp.kill();
    await startUpnpRouter(router, { pcp: false, upnp: true });
    await b.machine.must('ip', ['addr', 'add', '10.99.0.9/32', 'dev', 'eth0']); // another network, another router
    await b.until('a mapping by UPnP', (s) => protocolOf(s) === 'upnp', SLOW);
    expect(await rules()).toContain('dnat ip to');
    b.process.signal('SIGTERM');
    await b.process.exited;
    expect(await rules()).not.toContain('dnat ip to');
  });
});
