import { writeFile } from 'node:fs/promises';
import { type LabMachine, pollUntil } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeManifests } from '../harness/manifests.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { clusterIP, makeService } from '../harness/objects.ts';
import { machineIn } from '../harness/pods.ts';

const DNS = '169.254.96.16';
const HTTP = { name: 'http', port: 80, targetPort: 8080 };
const DUAL = { clusterIP: '10.96.3.1', clusterIPs: ['10.96.3.1', 'fd00:96::31'] };
const members = ['a', 'b'].map((node, i) => ({ address: `10.244.1.${i + 1}`, node, hostname: `db-${i}` }));
const objects = [
  ...makeService({ name: 'web', spec: DUAL, ports: [HTTP, { name: 'dns', port: 53, protocol: 'UDP' }] }),
  ...makeService({ name: 'db', spec: clusterIP('None'), ports: [{ name: 'sql', port: 5432 }], endpoints: members }),
  ...makeService({ name: 'nobody', spec: clusterIP('None'), ports: [HTTP] }),
  ...makeService({ name: 'alias', spec: { type: 'ExternalName', externalName: 'www.example.org' }, ports: [] }),
  ...makeService({ name: 'many', spec: clusterIP('None'), ports: [HTTP], endpoints: manyEndpoints() }),
];

/** The cluster's own DNS, served by this address. */
const kubeDns = (address: string) =>
  makeService({
    name: 'kube-dns',
    namespace: 'kube-system',
    spec: clusterIP('10.96.0.9'),
    ports: [{ name: 'dns', port: 53, protocol: 'UDP' }],
    endpoints: [{ address }],
  });

function manyEndpoints() {
  return Array.from({ length: 120 }, (_, i) => ({ address: `10.244.9.${i + 1}`, node: 'a' }));
}

/** A name server whose answers say which one it is, and count how often it was asked. */
const nameServer = (mark: string) => `
  const dgram = require('node:dgram');
  const socket = dgram.createSocket('udp4');
  socket.on('message', (query, from) => {
    console.log('asked');
    const answer = Buffer.concat([query.subarray(0, 12), query.subarray(12, query.indexOf(0, 12) + 5)]);
    answer[2] = 0x81; answer[3] = 0x80; answer.writeUInt16BE(1, 6); answer.writeUInt16BE(0, 8); answer.writeUInt16BE(0, 10);
    const type = answer.readUInt16BE(answer.length - 4);
    if (type !== 1) { answer.writeUInt16BE(0, 6); socket.send(answer, from.port, from.address); return; }
    socket.send(Buffer.concat([answer, Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ${mark.replaceAll('.', ', ')}])]), from.port, from.address);
  });
  socket.bind(53, () => console.log('ready'));`;

describe('DNS on a node', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  let cached: MeshAgent;
  let upstreams: LabMachine[];

  beforeAll(async () => {
    mesh = await createMesh({
      hosts: Object.fromEntries(['a', 'c', 'd', 'one', 'two'].map((name) => [name, { lan: 'home' }])),
    });
    upstreams = ['one', 'two'].map((name) => mesh.host(name));
    for (const [i, machine] of upstreams.entries()) {
      await machine.spawn(process.execPath, ['-e', nameServer(`192.0.2.${i + 1}`)]).waitForLine('ready');
    }
    const [one = '', two = ''] = upstreams.map((machine) => machine.address());
    const tunnel = { edgeTunnel: { enable: false } };
    const dns = { enable: true, upstreamServers: [one, two], stubDomains: { 'corp.test': [two] } };
    const cacheDNS = { enable: true, cacheTTL: 5 };
    const everything = [...objects, ...kubeDns(one)];
    [a, cached] = await Promise.all([
      mesh.agent('a', { objects: everything, modules: { ...tunnel, edgeDNS: dns } }),
      mesh.agent('c', { objects: everything, modules: { ...tunnel, edgeDNS: { enable: true, cacheDNS } } }),
    ]);
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  const dig = (args: readonly string[], machine = a.machine) =>
    machine.must('dig', ['+time=2', '+tries=1', `@${DNS}`, ...args]);
  const short = async (...args: string[]) => (await dig(['+short', ...args])).trim().split('\n').sort().join(' ');
  const status = async (...args: string[]) => /status: (\w+)/.exec(await dig(args))?.[1];

  it.each([
    ['web.default.svc.cluster.local', 'A', '10.96.3.1'],
    ['web.default.svc.cluster.local', 'AAAA', 'fd00:96::31'],
    ['_http._tcp.web.default.svc.cluster.local', 'SRV', '0 100 80 web.default.svc.cluster.local.'],
    ['_dns._udp.web.default.svc.cluster.local', 'SRV', '0 100 53 web.default.svc.cluster.local.'],
    ['db.default.svc.cluster.local', 'A', '10.244.1.1 10.244.1.2'],
    ['db-1.db.default.svc.cluster.local', 'A', '10.244.1.2'],
    ['1-2-3-4.default.pod.cluster.local', 'A', '1.2.3.4'],
    ['dns-version.cluster.local', 'TXT', '"1.1.0"'],
    ['cluster.local', 'NS', 'ns.dns.cluster.local.'],
    ['ns.dns.cluster.local', 'A', DNS],
    ['1.3.96.10.in-addr.arpa', 'PTR', 'web.default.svc.cluster.local.'],
    ['2.1.244.10.in-addr.arpa', 'PTR', 'db-1.db.default.svc.cluster.local.'],
  ])('answers %s %s', async (name, type, expected) => {
    expect(await short(name, type)).toBe(expected);
  });

  it('gives SRV records for the pods of a headless Service', async () => {
    expect(await short('_sql._tcp.db.default.svc.cluster.local', 'SRV')).toBe(
      '0 50 5432 db-0.db.default.svc.cluster.local. 0 50 5432 db-1.db.default.svc.cluster.local.',
    );
  });

  it('tells apart what does not exist and what exists without such records', async () => {
    expect(await status('nobody.default.svc.cluster.local')).toBe('NXDOMAIN');
    expect(await status('missing.default.svc.cluster.local')).toBe('NXDOMAIN');
    expect(await status('web.default.svc.cluster.local', 'MX')).toBe('NOERROR');
    expect(await status('svc.cluster.local')).toBe('NOERROR');
    expect(await status('missing.svc.cluster.local')).toBe('NXDOMAIN');
    expect(await dig(['web.default.svc.cluster.local', 'MX'])).toMatch(/SOA/);
  });

  it('keeps the spelling of the question', async () => {
    expect(await dig(['WeB.DeFaUlT.svc.cluster.LOCAL'])).toContain('WeB.DeFaUlT.svc.cluster.LOCAL.');
  });

  it('truncates over UDP, and answers in full over TCP', async () => {
    expect(await dig(['+ignore', '+noedns', 'many.default.svc.cluster.local'])).toMatch(/flags: [^;]*\btc\b/);
    expect((await short('many.default.svc.cluster.local')).split(' ')).toHaveLength(120);
    expect((await short('+tcp', '+keepopen', 'many.default.svc.cluster.local')).split(' ')).toHaveLength(120);
  });

  it('refuses what it does not serve, with the right codes', async () => {
    expect(await status('+opcode=status', 'web.default.svc.cluster.local')).toBe('NOTIMP');
    expect(await status('-c', 'CH', 'web.default.svc.cluster.local', 'A')).toMatch(/REFUSED|NOTIMP/);
    expect(await dig(['+edns=1', '+noednsnegotiation', 'web.default.svc.cluster.local'])).toMatch(/BADVERS/);
  });

  it('chases an ExternalName, forwards other names, and sends stub domains to their own servers', async () => {
    expect(await short('alias.default.svc.cluster.local')).toBe('192.0.2.1 www.example.org.');
    expect(await short('example.net')).toBe('192.0.2.1');
    expect(await short('intern.corp.test')).toBe('192.0.2.2');
  });

  it('goes on with another upstream within a second when one is silent, and from the cache when all are', async () => {
    await upstreams[0]?.unplug();
    const started = performance.now();
    expect(await short('fresh.example.net')).toBe('192.0.2.2');
    expect(performance.now() - started).toBeLessThan(1_000);
    await upstreams[1]?.unplug();
    expect(await short('fresh.example.net')).toBe('192.0.2.2');
    expect(await short('web.default.svc.cluster.local', 'A')).toBe('10.96.3.1');
    await Promise.all(upstreams.map((machine) => machine.plug()));
    await pollUntil(async () => (await short('later.example.net')).startsWith('192.0.2.'), {
      what: 'upstreams are back',
    });
  });

  it('takes its upstreams from resolv.conf, also from one that replaces it by a rename', async () => {
    const host = mesh.host('d');
    // /etc of its own: only there may files be replaced.
    const holder = host.spawn('unshare', ['-m', 'sh', '-c', 'mount -t tmpfs none /etc; echo ready; exec sleep 1000']);
    await holder.waitForLine('ready');
    const box = machineIn(host, 'd', holder);
    const replace = (upstream: LabMachine | undefined) =>
      box.must('sh', [
        '-ec',
        `echo nameserver ${upstream?.address()} > /etc/resolv.conf.new; mv /etc/resolv.conf.new /etc/resolv.conf`,
      ]);
    await replace(upstreams[0]);
    const home = `${mesh.folder}/agent-d`;
    await writeManifests(home, {});
    const config = {
      kind: 'EdgeMeshAgent',
      commonConfig: { dataDir: home, manifestDir: home },
      modules: { edgeDNS: { enable: true } },
    };
    await writeFile(`${home}/config.json`, JSON.stringify(config));
    const args = [...mesh.agentCommand, '--config-file', `${home}/config.json`];
    const agent = box.spawn(process.execPath, args, { env: { NODE_NAME: 'd' } });
    await agent.waitForLine(/agent is ready/);
    const answer = async (name: string) => (await dig(['+short', name], host)).trim();
    expect(await answer('before.example.net')).toBe('192.0.2.1');
    await replace(upstreams[1]);
    let asked = 0;
    await pollUntil(async () => (await answer(`after-${asked++}.example.net`)) === '192.0.2.2', {
      timeoutMs: 30_000,
      what: 'the other upstream is asked',
    });
  }, 60_000);

  it('finds the cluster DNS and stands in front of it in cacheDNS mode, for cluster names too', async () => {
    const ask = (name: string) => dig([name], cached.machine);
    expect(await ask('web.default.svc.cluster.local')).toMatch(/192\.0\.2\.1/);
    const again = await ask('web.default.svc.cluster.local');
    const ttl = Number(/\s(\d+)\s+IN\s+A\s+192\.0\.2\.1/.exec(again)?.[1]);
    expect(ttl).toBeLessThanOrEqual(5);
  });
});
