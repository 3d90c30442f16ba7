import { parseAgentConfig } from '@edgemesh/config';
import { createTestCatalog } from '@edgemesh/testkit';
import { makeEndpoint } from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { testNode, testService } from '../testing/catalog.ts';
import { kubernetesOrigin } from './discovery.ts';
import { readyHere, wantedChecks } from './health-checks.ts';
import { exclusionsOf, isOurs, serviceRanges } from './proxy.ts';
import { addressTarget } from './socks5.ts';

const HEAD = 'apiVersion: agent.edgemesh.config.kubeedge.io/v1alpha1\nkind: EdgeMeshAgent\n';
const config = (yaml = '') => parseAgentConfig(HEAD + yaml).config;

describe('kubernetesOrigin', () => {
  const inPod = { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '6443' };

  it.each([
    ['nothing', '', {}, 'metaserver http://127.0.0.1:10550'],
    ['a master', 'kubeAPIConfig: {master: "https://10.0.0.1:6443"}', inPod, 'apiserver https://10.0.0.1:6443'],
    [
      'a metaServer',
      'kubeAPIConfig: {metaServer: {server: "http://10.0.0.9:10550"}}',
      inPod,
      'metaserver http://10.0.0.9:10550',
    ],
    [
      'a secured metaServer',
      'kubeAPIConfig: {metaServer: {security: {requireAuthorization: true}}}',
      {},
      'metaserver https://127.0.0.1:10550',
    ],
    ['a folder', 'commonConfig: {manifestDir: /m}', inPod, 'none'],
    [
      'a folder and a master',
      'commonConfig: {manifestDir: /m}\nkubeAPIConfig: {master: "http://h:1"}',
      {},
      'apiserver http://h:1',
    ],
  ])('for %s', (_, yaml, env, expected) => {
    const origin = kubernetesOrigin(config(yaml), env);
    const server = origin && 'server' in origin.connection ? origin.connection.server : '';
    expect(origin === undefined ? 'none' : `${origin.mode} ${server}`).toBe(expected);
  });

  it('is the API server of the environment in a pod of a cloud node, and a kubeconfig where one is named', () => {
    expect(kubernetesOrigin(config(), inPod)?.mode).toBe('apiserver');
    expect(kubernetesOrigin(config('kubeAPIConfig: {kubeConfig: /k}'), inPod)).toEqual({
      mode: 'apiserver',
      connection: { kubeconfig: '/k' },
    });
  });
});

describe('exclusionsOf', () => {
  it('names our own ports, the API server and the metaServer', () => {
    expect(exclusionsOf(config('kubeAPIConfig: {master: "https://10.0.0.1"}'))).toEqual([
      { kind: 'address', address: '169.254.96.16', protocol: 'UDP', port: 53 },
      { kind: 'address', address: '169.254.96.16', protocol: 'TCP', port: 53 },
      { kind: 'localPort', protocol: 'TCP', port: 20_006 },
      { kind: 'address', address: '10.0.0.1', protocol: 'TCP', port: 443 },
      { kind: 'address', address: '127.0.0.1', protocol: 'TCP', port: 10_550 },
    ]);
    const dns = exclusionsOf(config('modules: {edgeDNS: {listenAddress: [10.96.0.10, 169.254.96.16]}}'));
    expect(dns.filter((each) => each.kind === 'address' && each.port === 53)).toHaveLength(4);
    const metrics = exclusionsOf(config('modules: {edgeTunnel: {metricConfig: {enable: true}}}'));
    expect(metrics).toContainEqual({ kind: 'localPort', protocol: 'TCP', port: 9_999 });
    const six = exclusionsOf(config('kubeAPIConfig: {master: "https://[fd00::1]:6443"}'));
    expect(six).toContainEqual({ kind: 'address', address: 'fd00::1', protocol: 'TCP', port: 6_443 });
    expect(exclusionsOf(config('kubeAPIConfig: {master: "https://api.example:6443"}'))).toHaveLength(4);
  });
});

describe('isOurs', () => {
  const label = { 'service.edgemesh.kubeedge.io/service-proxy-name': '' };
  const kubernetesLabel = { 'service.kubernetes.io/service-proxy-name': 'other' };

  it('goes by the filter mode, and never takes the API server or cloudcore', () => {
    const leave = isOurs(config());
    const only = isOurs(config('modules: {edgeProxy: {serviceFilterMode: FilterIfLabelDoesNotExists}}'));
    const [plain, labelled] = [testService('a'), testService('b', { labels: label })];
    expect([leave(plain), leave(labelled), only(plain), only(labelled)]).toEqual([true, false, false, true]);
    const ids = ['default/kubernetes', 'kubeedge/cloudcore'] as const;
    for (const id of ids) expect(leave(testService('x', { id }))).toBe(false);
    expect(leave(testService('x', { labels: kubernetesLabel }))).toBe(false);
  });
});

describe('serviceRanges', () => {
  const services = [['10.96.3.1', 'fd00:96::1'], ['10.96.200.1'], ['10.97.0.1'], [], ['None']].map((clusterIPs) => ({
    clusterIPs,
  }));
  it('are few, canonical and in order', () => {
    expect(serviceRanges(services, true)).toEqual(['10.96.0.0/16', '10.97.0.0/16', 'fd00:96::/112']);
  });

  it('are those of IPv4 on a node without IPv6, whatever the cluster has', () => {
    expect(serviceRanges(services, false)).toEqual(['10.96.0.0/16', '10.97.0.0/16']);
  });
});

describe('addressTarget', () => {
  const view = createTestCatalog();
  view.nodes(testNode('me', '192.168.1.1'), testNode('far', '192.168.9.1'));
  view.put(testService('web'), [
    makeEndpoint('172.17.0.2', { nodeName: 'me', port: 80 }),
    makeEndpoint('172.17.0.2', { nodeName: 'far', port: 80 }),
    makeEndpoint('172.17.0.3', { nodeName: 'far', port: 80 }),
    makeEndpoint('172.17.0.4', { nodeName: 'far', port: 80 }),
    makeEndpoint('172.17.0.4', { nodeName: 'farther', port: 80 }),
    makeEndpoint('172.17.0.5', { nodeName: 'far', port: 53, protocol: 'UDP' }),
  ]);

  it.each<[string, number, string | undefined, string]>([
    ['172.17.0.2', 80, 'me', 'the pod of this node, where others have its address too'],
    ['172.17.0.3', 80, 'far', 'the only pod of that address'],
    ['172.17.0.4', 80, undefined, 'nobody, where several other nodes have it'],
    ['172.17.0.3', 81, undefined, 'no endpoint'],
    ['172.17.0.5', 53, undefined, 'UDP'],
    ['192.168.9.1', 22, 'far', 'the ssh port of a node'],
    ['192.168.9.1', 23, undefined, 'another port of a node'],
    ['8.8.8.8', 22, undefined, 'a stranger'],
  ])('of %s port %i is on %s: %s', (address, port, nodeName) => {
    const target = addressTarget(view.current, { nodeName: 'me', sshPort: 22 }, address, port);
    expect(target?.nodeName).toBe(nodeName);
  });
});

describe('health checks', () => {
  it('are wanted for LoadBalancer Services with externalTrafficPolicy Local, each port once', () => {
    const local = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 32_000 } as const;
    const services = [
      testService('a', local),
      testService('b', local),
      testService('c', { ...local, healthCheckNodePort: 32_001, externalTrafficPolicy: 'Cluster' }),
      testService('d', { ...local, healthCheckNodePort: 32_002, labels: { theirs: '' } }),
      testService('e', { type: 'NodePort', externalTrafficPolicy: 'Local' }),
    ];
    expect([...wantedChecks(services, ({ labels }) => !('theirs' in labels))]).toEqual([[32_000, 'default/a']]);
  });

  it('count ready pods of this node, whatever their ports', () => {
    const on = (nodeName: string, address: string, ready = true, port = 80) =>
      makeEndpoint(address, { nodeName, ready, port });
    const list = [
      on('me', '1.1.1.1'),
      on('me', '1.1.1.1', true, 81),
      on('me', '1.1.1.2', false),
      on('other', '1.1.1.3'),
    ];
    expect(readyHere(list, 'me')).toBe(1);
  });
});
