import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { HELLO, labServices } from '../harness/services.ts';

describe('two agents on one LAN, no server', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  let b: MeshAgent;

  beforeAll(async () => {
    mesh = await createMesh({
      hosts: { a: { lan: 'home', dns: ['169.254.96.16'] }, b: { lan: 'home', dns: ['169.254.96.16'] } },
    });
    await mesh.backend('b');
    const services = labServices(['b']);
    [a, b] = await Promise.all([mesh.agent('a', { services }), mesh.agent('b', { services })]);
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('reaches a ClusterIP whose endpoint is on the other node, found by mDNS', async () => {
    const { body, stderr } = await curl(a.machine, `http://${HELLO}/`);
    expect(stderr).toBe('');
    expect(body).toContain('hello from b');
    const status = await a.until('path lan', (s) => s.peers.some((p) => p.node === 'b' && p.path === 'lan'));
    expect(status.relays).toEqual([]);
  });

  it("reaches it by name through the node's own DNS", async () => {
    const { body } = await curl(a.machine, 'http://hello.default.svc.cluster.local/');
    expect(body).toContain('hello from b');
    const dig = await a.machine.must('dig', ['+short', '@169.254.96.16', 'hello.default.svc.cluster.local']);
    expect(dig.trim()).toBe(HELLO);
  });

  it('serves an endpoint on the same node without the tunnel', async () => {
    const before = (await b.status()).peers.reduce((sum, peer) => sum + peer.bytesOut, 0);
    const { body } = await curl(b.machine, `http://${HELLO}/`);
    expect(body).toContain('hello from b');
    const after = (await b.status()).peers.reduce((sum, peer) => sum + peer.bytesOut, 0);
    expect(after - before).toBeLessThan(100);
  });

  it('leaves no rule and no link behind when it stops', async () => {
    expect(await a.machine.must('nft', ['list', 'tables'])).toContain('edgemesh');
    expect(await a.process.kill('SIGTERM')).toBe(0);
    expect((await a.machine.must('nft', ['list', 'tables'])).trim()).toBe('');
    expect(await a.machine.must('ip', ['-br', 'link'])).not.toContain('edgemesh0');
  });

  it('cleans up after an agent that was killed', async () => {
    await b.process.kill('SIGKILL');
    expect(await b.machine.must('nft', ['list', 'tables'])).toContain('edgemesh');
    const { code, stdout, stderr } = await b.machine.exec(process.execPath, [...mesh.agentCommand, 'cleanup']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/removed/);
    expect((await b.machine.must('nft', ['list', 'tables'])).trim()).toBe('');
    expect(await b.machine.must('ip', ['-br', 'link'])).not.toContain('edgemesh0');
  });
});
