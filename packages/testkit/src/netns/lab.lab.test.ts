import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLab, type Lab, labMissing, pollUntil, startResponder } from './index.ts';

const missing = await labMissing({ ci: process.env.CI !== undefined });

async function namespaces(prefix: string): Promise<string[]> {
  const { execCommand } = await import('./process.ts');
  const { stdout } = await execCommand('ip', ['netns', 'list']);
  return stdout.split('\n').filter((line) => line.startsWith(prefix));
}

/** Sends one datagram and returns the words of the answer: name, the client's address and port as seen there. */
async function ask(lab: Lab, from: string, to: string, ...options: string[]): Promise<string[]> {
  const args = ['-u', '-w', '1', ...options, lab.host(to).address(), '53'];
  const answer = async () => (await lab.host(from).exec('nc', args, { input: 'hi' })).stdout;
  // Datagrams may be lost, and a busy machine answers late: ask again.
  return (await pollUntil(answer, { what: `an answer of ${to}` })).split(' ');
}

describe.skipIf(missing)('the network lab', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await createLab({
      hosts: {
        edge: { lan: 'home', dns: ['5.1.0.10'], search: ['svc.cluster.local'] },
        neighbour: { lan: 'home' },
        far: { lan: 'office' },
        deep: { lan: 'flat' },
        walled: { lan: 'campus' },
        cloud: { lan: 'internet' },
        cloud2: { lan: 'internet' },
      },
      routers: {
        homeNat: { lan: 'home', forwards: [{ protocol: 'tcp', port: 2222, host: 'edge', hostPort: 80 }] },
        officeNat: { lan: 'office', nat: 'symmetric' },
        flatNat: { lan: 'flat', uplink: 'home' },
        wall: { lan: 'campus', nat: 'firewallOnly' },
      },
      ipv6: true,
    });
    await Promise.all([
      startResponder(lab.host('cloud'), { udp: [53] }),
      startResponder(lab.host('cloud2'), { udp: [53] }),
      startResponder(lab.host('edge'), { http: [80] }),
      startResponder(lab.host('walled'), { http: [80] }),
    ]);
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
    expect(await namespaces(lab.prefix)).toEqual([]);
  });

  it.each([
    ['edge', '5.1.1.1'],
    ['deep', '5.1.1.1'],
    ['far', '5.1.1.2'],
    ['walled', 'own'],
  ])('shows the cloud the right address of %s', async (from, seen) => {
    expect((await ask(lab, from, 'cloud')).slice(0, 2)).toEqual([
      'cloud',
      seen === 'own' ? lab.host('walled').address() : seen,
    ]);
  });

  it('keeps the port for all destinations on a plain NAT, and not on a symmetric one', async () => {
    const port = async (from: string, to: string) => (await ask(lab, from, to, '-p', '40000'))[2];
    expect(await port('edge', 'cloud')).toBe('40000');
    expect(await port('edge', 'cloud2')).toBe('40000');
    const ports = [await port('far', 'cloud'), await port('far', 'cloud2')];
    expect(ports[0]).not.toBe(ports[1]);
  });

  it('lets nobody in unasked but through a port forward', async () => {
    const cloud = lab.host('cloud');
    const curl = (url: string) => cloud.exec('curl', ['-s', '--max-time', '2', url]);
    expect((await curl(`http://${lab.host('walled').address()}/`)).code).not.toBe(0);
    expect((await curl(`http://${lab.router('homeNat').address()}/`)).code).not.toBe(0);
    expect(JSON.parse((await curl(`http://${lab.router('homeNat').address()}:2222/`)).stdout)).toMatchObject({
      name: 'edge',
      client: lab.host('cloud').address(),
    });
  });

  it('lets anybody answer on a mapped port of an endpoint-independent NAT', async () => {
    await lab.router('homeNat').setNat('endpointIndependent');
    const open = lab.host('edge').spawn('bash', ['-c', 'echo hello | nc -u -w 3 -p 40001 5.1.0.10 53']);
    await pollUntil(
      async () => (await lab.router('homeNat').must('nft', ['list', 'table', 'inet', 'lab'])).includes('40001'),
      { what: 'the mapping' },
    );
    await lab.host('cloud2').exec('nc', ['-u', '-w', '1', lab.router('homeNat').address(), '40001'], { input: 'in\n' });
    // The connected socket of nc drops a stranger's datagram, but the router has let it through: count it there.
    const { stdout } = await lab.router('homeNat').exec('conntrack', ['-L', '-p', 'udp', '--src', '5.1.0.11']);
    expect(stdout).toContain('dport=40001');
    expect(stdout).toContain(`src=${lab.host('edge').address()}`);
    await open.kill();
    await lab.router('homeNat').setNat('portPreserving');
  });

  it('speaks IPv6 through NAT routers without translating', async () => {
    const target = `[${lab.host('cloud').address6()}]`;
    const responder = await startResponder(lab.host('cloud'), { http: [8080], host: '::' });
    const { stdout } = await lab.host('edge').exec('curl', ['-s', '--max-time', '3', `http://${target}:8080/`]);
    expect(JSON.parse(stdout).client).toBe(lab.host('edge').address6());
    await responder.kill();
  });

  it('pulls a cable and puts it back without losing routes', async () => {
    const ping = async () =>
      (await lab.host('edge').exec('ping', ['-c1', '-W1', lab.host('cloud').address()])).code === 0;
    expect(await ping()).toBe(true);
    await lab.host('edge').unplug();
    expect(await ping()).toBe(false);
    await lab.host('edge').plug();
    await pollUntil(ping, { what: 'the link is back' });
  });

  it('shows a new address after the provider renumbered the router', async () => {
    await lab.router('officeNat').renumber('5.1.7.7');
    await lab.router('officeNat').flushConntrack();
    expect((await ask(lab, 'far', 'cloud'))[1]).toBe('5.1.7.7');
  });

  it('limits bandwidth in both directions', async () => {
    await lab.host('edge').limit({ mbitPerSecond: 20 });
    const server = lab.host('cloud').spawn('iperf3', ['-s', '-1', '--forceflush']);
    await server.waitForLine('listening');
    const out = await lab.host('edge').must('iperf3', ['-c', lab.host('cloud').address(), '-t', '1', '-J']);
    await lab.host('edge').limit(undefined);
    const mbit = JSON.parse(out).end.sum_received.bits_per_second / 1e6;
    expect(mbit).toBeGreaterThan(8);
    expect(mbit).toBeLessThan(25);
  });

  it('gives a host its own resolv.conf', async () => {
    const { stdout } = await lab.host('edge').exec('cat', ['/etc/resolv.conf']);
    expect(stdout).toContain('nameserver 5.1.0.10');
    expect((await lab.host('cloud').exec('cat', ['/etc/resolv.conf'])).stdout).not.toContain('5.1.0.10');
  });

  it('reports exit codes and time limits of commands', async () => {
    expect((await lab.host('edge').exec('sh', ['-c', 'echo out; echo err >&2; exit 3'])).code).toBe(3);
    expect((await lab.host('edge').exec('sleep', ['10'], { timeoutMs: 100 })).code).toBe(-1);
  });

  it('fails a wait at once when the process has ended', async () => {
    const short = lab.host('edge').spawn('sh', ['-c', 'echo only this']);
    await expect(short.waitForLine('something else')).rejects.toMatchObject({ code: 'command' });
  });
});

describe.skipIf(missing)('the lab as a guest', () => {
  it('cleans up what a killed process left, namespaces and resolv.conf folders', async () => {
    const { spawnProcess } = await import('./process.ts');
    const script = `import { createLab } from '@edgemesh/testkit/netns';
      const lab = await createLab({ hosts: { a: { lan: 'internet', dns: ['5.1.0.1'] } } });
      console.log('PREFIX ' + lab.prefix); setInterval(() => {}, 1000);`;
    const child = spawnProcess(
      process.execPath,
      ['--conditions=@edgemesh/source', '--input-type=module', '-e', script],
      {
        cwd: new URL('../../../linux', import.meta.url).pathname,
      },
    );
    const prefix = (await child.waitForLine(/^PREFIX/)).slice(7);
    expect(await namespaces(prefix)).toHaveLength(2);
    await child.kill('SIGKILL');
    const { cleanupStaleLabs } = await import('./index.ts');
    await cleanupStaleLabs();
    expect(await namespaces(prefix)).toEqual([]);
    expect(existsSync(`/etc/netns/${prefix}h-a`)).toBe(false);
  });
});
