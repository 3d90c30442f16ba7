import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import type { ServicePlan } from '../harness/manifests.ts';
import { app, createMesh, type Mesh, type MeshAgent, POD_IP } from '../harness/mesh.ts';

const onNode = (node: string, clusterIP: string): ServicePlan => ({
  name: `hello-${node}`,
  clusterIP,
  ports: [{ name: 'http', port: 80, targetPort: 8080 }],
  endpoints: [{ address: POD_IP, node }],
});
const services = [onNode('edge', '10.96.1.1'), onNode('cloud', '10.96.1.2')];

describe('an edge behind a NAT and a node in the cloud that relays', () => {
  let mesh: Mesh;
  let edge: MeshAgent;
  let cloud: MeshAgent;

  beforeAll(async () => {
    mesh = await createMesh({
      hosts: { edge: { lan: 'home', dns: ['169.254.96.16'] }, cloud: { lan: 'internet' } },
      routers: { nat: { lan: 'home' } },
    });
    await Promise.all([mesh.backend('edge'), mesh.backend('cloud')]);
    // As in EdgeMesh: a node named in relayNodes relays for the others, with no server beside it.
    const relayNodes = [{ nodeName: 'cloud', advertiseAddress: [mesh.host('cloud').address()] }];
    const options = { services, tunnel: { relayNodes } };
    [edge, cloud] = await Promise.all([mesh.agent('edge', options), mesh.agent('cloud', options)]);
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('goes from the edge to the cloud directly', async () => {
    const { body, stderr } = await curl(edge.machine, 'http://10.96.1.2/');
    expect({ body, stderr }).toEqual({ body: `hello from cloud (${POD_IP})\n`, stderr: '' });
    await edge.until('a direct path', (s) => s.peers.some((p) => p.node === 'cloud' && p.path === 'direct'));
  });

  it('goes from the cloud to the edge over what the edge has opened', async () => {
    const { body, stderr } = await curl(cloud.machine, 'http://10.96.1.1/');
    expect({ body, stderr }).toEqual({ body: `hello from edge (${POD_IP})\n`, stderr: '' });
  });

  it('does so too when the cloud is the first to call', async () => {
    await edge.process.kill();
    await edge.restart();
    const { body, stderr } = await curl(cloud.machine, 'http://10.96.1.1/');
    expect({ body, stderr }).toEqual({ body: `hello from edge (${POD_IP})\n`, stderr: '' });
  });

  it('explains itself: status, why, ping and doctor of the command line', async () => {
    const edgemesh = (...args: string[]) => edge.machine.exec(process.execPath, [app('cli'), ...args]);
    const status = await edgemesh('status');
    expect([status.code, status.stdout]).toEqual([0, expect.stringMatching(/^ {2}cloud +direct +active/m)]);
    const why = await edgemesh('why', 'hello-cloud');
    expect([why.code, why.stdout]).toEqual([0, expect.stringMatching(/cloud +tunnel, direct +\d.* ms +yes/)]);
    const ping = await edgemesh('ping', 'cloud', '-c', '2');
    expect([ping.code, ping.stdout]).toEqual([0, expect.stringMatching(/^cloud: [\d.]+ ms, direct$/m)]);
    const nobody = await edgemesh('ping', 'nobody', '-c', '1');
    expect([nobody.code, nobody.stdout]).toEqual([1, expect.stringMatching(/node nobody is unknown/)]);
    const doctor = await edgemesh('doctor');
    expect(doctor.stdout).toMatch(/^\+ DNS on 169\.254\.96\.16:53 answers$/m);
    expect(doctor.stdout).toMatch(/ 0 wrong$/m);
  });
});
