import { describe, expect, it } from 'vitest';
import { ConfigError, type ConfigProblem } from './errors.ts';
import { parseAgentConfig, parseServerConfig } from './parse.ts';
import { ORIGINAL_AGENT_FILES, ORIGINAL_GATEWAY_FILES } from './testing/original-files.ts';

function problemsOf(run: () => unknown): readonly ConfigProblem[] {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).problems;
  }
  throw new Error('expected a ConfigError');
}

const agent = (text: string) => parseAgentConfig(text).config;

describe('files of the original', () => {
  it.each(Object.entries(ORIGINAL_AGENT_FILES))('%s is read without errors', (_, text) => {
    expect(parseAgentConfig(text).config.modules.edgeProxy).toBeDefined();
  });

  it.each(Object.entries(ORIGINAL_GATEWAY_FILES))('%s is read without errors as a gateway', (_, text) => {
    const { config } = parseAgentConfig(text, { kind: 'EdgeMeshGateway' });
    expect(config.kind).toBe('EdgeMeshGateway');
    expect(config.modules.edgeGateway.enable).toBe(true);
  });

  it('the documented file means what it says, whatever the case of its keys', () => {
    const text = ORIGINAL_AGENT_FILES['reference/config-items, edgemesh-agent-cfg']!;
    const { config, warnings } = parseAgentConfig(
      text.replace('TunnelPeerBaseStreamIn: 1024', 'TunnelPeerBaseStreamIn: 77'),
    );
    expect(config.modules.edgeTunnel.tunnelLimitConfig.tunnelPeerBaseStreamIn).toBe(77);
    expect(config.modules.edgeTunnel.relayNodes).toEqual([
      { nodeName: 'k8s-master', advertiseAddress: ['1.1.1.1'] },
      { nodeName: 'ke-edge1', advertiseAddress: ['2.2.2.2', '3.3.3.3'] },
    ]);
    expect(config.modules.edgeTunnel.maxCandidates).toBe(5);
    expect(warnings.map(({ path }) => path)).toEqual([
      'modules.edgeTunnel.maxCandidates',
      'modules.edgeTunnel.enableIpfsLog',
    ]);
  });

  it('the key that the Helm chart renders twice is a warning, as its values are the same', () => {
    const { config, warnings } = parseAgentConfig(ORIGINAL_AGENT_FILES['Helm chart 1.17 with much set']!);
    expect(config.modules.edgeProxy.serviceFilterMode).toBe('FilterIfLabelDoesNotExists');
    expect(config.modules.edgeTunnel.listenInterfaces).toEqual(['lo', 'eth0']);
    expect(config.modules.edgeTunnel.relayNodes[0]?.advertiseAddress).toEqual(['relay.example.com', '1.1.1.1']);
    expect(config.kubeAPIConfig.metaServer.server).toBe('https://127.0.0.1:10550');
    expect(warnings).toEqual([
      {
        path: 'modules.edgeProxy.serviceFilterMode',
        line: 32,
        message: 'given twice with the same value, first in line 26',
      },
    ]);
  });

  it('former names of 1.9 take effect under their new names, with warnings', () => {
    const { config, warnings } = parseAgentConfig(ORIGINAL_AGENT_FILES['documentation of 1.9']!);
    expect(config.commonConfig).toMatchObject({ bridgeDeviceName: 'edgemesh1', bridgeDeviceIP: '169.254.96.17' });
    expect(config.modules.edgeTunnel).toMatchObject({ enable: true, listenPort: 20_007 });
    expect(warnings.every(({ message }) => !message.includes('unknown key'))).toBe(true);
    expect(warnings.map(({ path }) => path)).toContain('commonConfig.dummyDeviceIP');
  });

  it('a gateway may have pprofConfig at the top, as the original wants it', () => {
    const { config, warnings } = parseAgentConfig(Object.values(ORIGINAL_GATEWAY_FILES)[1]!);
    expect(config.commonConfig.pprofConfig).toEqual({
      enableProfiling: true,
      profilingAddress: '127.0.0.1',
      profilingPort: 9090,
    });
    expect(warnings).toEqual([]);
  });
});

describe('defaults', () => {
  it('an empty file, only comments, and only a kind give the same complete configuration', () => {
    const empty = agent('');
    expect(agent('# nothing\n')).toEqual(empty);
    expect(agent('---\n')).toEqual(empty);
    expect(agent('kind: EdgeMeshAgent\n')).toEqual(empty);
    expect(agent('modules:\n')).toEqual(empty);
  });

  it('are those of the original', () => {
    const config = agent('');
    expect(config.kubeAPIConfig).toMatchObject({ master: '', qps: 100, burst: 200, kubeConfig: '' });
    expect(config.kubeAPIConfig.metaServer.server).toBe('http://127.0.0.1:10550');
    expect(config.commonConfig).toMatchObject({ bridgeDeviceName: 'edgemesh0', bridgeDeviceIP: '169.254.96.16' });
    const { edgeDNS, edgeProxy, edgeTunnel, edgeGateway, edgeCNI } = config.modules;
    expect([edgeDNS, edgeProxy, edgeTunnel, edgeGateway, edgeCNI].map(({ enable }) => enable)).toEqual(
      Array(5).fill(false),
    );
    expect(edgeDNS).toMatchObject({
      listenPort: 53,
      cacheDNS: { enable: false, autoDetect: true, upstreamServers: [], cacheTTL: 30 },
    });
    expect(edgeProxy).toMatchObject({
      serviceFilterMode: 'FilterIfLabelExists',
      socks5Proxy: { enable: false, listenPort: 10_800 },
    });
    expect(edgeProxy.loadBalancer.consistentHash).toEqual({ partitionCount: 100, replicationFactor: 10, load: 1.25 });
    expect(edgeTunnel).toMatchObject({
      listenPort: 20_006,
      transport: 'tcp',
      rendezvous: 'EDGEMESH_PLAYGOUND',
      maxCandidates: 15,
    });
    expect(edgeTunnel).toMatchObject({
      heartbeatPeriod: 120,
      finderPeriod: 60,
      psk: { enable: true, path: '/etc/edgemesh/psk' },
    });
    expect(edgeTunnel.tunnelLimitConfig).toMatchObject({
      enable: true,
      tunnelBaseStreamIn: 10_240,
      tunnelPeerBaseStreamOut: 1024,
    });
    expect(edgeTunnel.metricConfig).toEqual({ enable: false, port: 9999 });
    expect([edgeGateway.nic, edgeGateway.includeIP, edgeGateway.excludeIP]).toEqual([[], [], []]);
  });

  it('of a server', () => {
    const { config, warnings } = parseServerConfig('');
    expect(config).toMatchObject({
      kind: 'EdgeMeshServer',
      listen: '0.0.0.0:20006',
      dataDir: '/var/lib/edgemesh',
      psk: { enable: true },
    });
    expect(warnings).toEqual([]);
  });
});

describe('layers', () => {
  it('defaults lie under the file, overrides and the node name over it', () => {
    const text = 'commonConfig: { NodeName: from-file, logLevel: warn }\nmodules: { edgeDNS: { enable: false } }';
    const { config } = parseAgentConfig(text, {
      nodeName: 'edge-1',
      defaults: { modules: { edgeDNS: { enable: true }, edgeProxy: { enable: true } } },
      overrides: { commonConfig: { LOGLEVEL: 'debug' } },
    });
    expect(config.commonConfig).toMatchObject({ nodeName: 'edge-1', logLevel: 'debug' });
    expect(config.modules.edgeDNS.enable).toBe(false);
    expect(config.modules.edgeProxy.enable).toBe(true);
  });

  it('an empty NODE_NAME does not hide the file', () => {
    expect(parseAgentConfig('commonConfig: {nodeName: a}', { nodeName: '' }).config.commonConfig.nodeName).toBe('a');
  });

  it('a bad override is an error with its path', () => {
    const overrides = { commonConfig: { logLevel: 'loud' } };
    expect(problemsOf(() => parseAgentConfig('', { overrides }))[0]?.path).toBe('commonConfig.logLevel');
    expect(problemsOf(() => parseAgentConfig('commonConfig: [1]', { nodeName: 'a' }))[0]?.path).toBe('commonConfig');
    expect(problemsOf(() => parseAgentConfig('', { overrides: [1] }))[0]?.message).toContain('expected an object');
  });
});

describe('bad values', () => {
  it('are all told at once, each with path, line, what is expected and what was found', () => {
    const text = [
      'modules:',
      '  edgeDNS:',
      '    listenPort: "53"',
      '    enable: maybe',
      '  edgeTunnel:',
      '    relayNodes:',
      '    - advertiseAddress: [1.2.3.400]',
    ];
    expect(problemsOf(() => parseAgentConfig(text.join('\n')))).toEqual([
      { path: 'modules.edgeDNS.enable', line: 4, message: 'expected true or false; found the text "maybe"' },
      {
        path: 'modules.edgeDNS.listenPort',
        line: 3,
        message: 'expected a whole number from 0 to 65535; found the text "53"; remove the quotes',
      },
      {
        path: 'modules.edgeTunnel.relayNodes[0].advertiseAddress[0]',
        line: 7,
        message:
          'expected an IP address or host name, with or without port, or a multiaddr such as /ip4/203.0.113.7/tcp/20006; found the text "1.2.3.400"',
      },
      { path: 'modules.edgeTunnel.relayNodes[0].nodeName', line: 7, message: 'expected a value, found none' },
    ]);
  });

  it.each([
    ['modules: [1]', 'modules', 'expected an object (key: value); found a list of 1'],
    ['modules: {edgeDNS: {listenPort: 65536}}', 'modules.edgeDNS.listenPort', 'from 0 to 65535; found 65536'],
    ['modules: {edgeDNS: {listenPort: 1.5}}', 'modules.edgeDNS.listenPort', 'found 1.5'],
    ['modules: {edgeDNS: {listenPort: 0053}}', 'modules.edgeDNS.listenPort', 'without leading zeros'],
    [
      'modules: {edgeProxy: {loadBalancer: {consistentHash: {load: .nan}}}}',
      'modules.edgeProxy.loadBalancer.consistentHash.load',
      'found .nan',
    ],
    [
      'modules: {edgeProxy: {serviceFilterMode: FilterIfLabelExist}}',
      'modules.edgeProxy.serviceFilterMode',
      'did you mean FilterIfLabelExists?',
    ],
    ['commonConfig: {bridgeDeviceName: a-name-that-is-too-long}', 'commonConfig.bridgeDeviceName', 'interface name'],
    ['modules: {edgeGateway: {nic: "*,eth0"}}', 'modules.edgeGateway.nic', '"*" alone'],
    ['modules: {edgeGateway: {includeIP: "10.0.0.1,nonsense"}}', 'modules.edgeGateway.includeIP', 'found "nonsense"'],
    [
      'modules: {edgeCNI: {meshCIDRConfig: {edgeCIDR: [10.0.0.0]}}}',
      'modules.edgeCNI.meshCIDRConfig.edgeCIDR[0]',
      'address range',
    ],
    ['modules: {edgeTunnel: {relayNodes: [null]}}', 'modules.edgeTunnel.relayNodes[0]', 'found nothing'],
    [
      'modules: {edgeTunnel: {relayNodes: [{nodeName: "<your relay node name1>"}]}}',
      'modules.edgeTunnel.relayNodes[0].nodeName',
      'node name',
    ],
    [
      'modules: {edgeDNS: {stubDomains: {"a b": 1.1.1.1}}}',
      'modules.edgeDNS.stubDomains.a b',
      'expected as key a domain name',
    ],
    ['kubeAPIConfig: {master: "ftp://x"}', 'kubeAPIConfig.master', 'URL of an API server'],
    ['kind: EdgeMeshServer', 'kind', 'expected EdgeMeshAgent or EdgeMeshGateway; found "EdgeMeshServer"'],
    ['kind: ConfigMap', 'kind', 'give the text under its data'],
    [
      'apiVersion: v1',
      'apiVersion',
      'expected agent.edgemesh.config.kubeedge.io/v1alpha1 for kind EdgeMeshAgent; found "v1"',
    ],
  ])('%s', (text, path, message) => {
    const problems = problemsOf(() => parseAgentConfig(text));
    expect(problems).toHaveLength(1);
    expect(problems[0]?.path).toBe(path);
    expect(problems[0]?.message).toContain(message);
  });
});

describe('values', () => {
  it('numbers and words are texts where a text is wanted', () => {
    const text =
      'modules: {edgeTunnel: {relayNodes: [{nodeName: 007, advertiseAddress: [1.1.1.1]}, {nodeName: true}]}}';
    expect(agent(text).modules.edgeTunnel.relayNodes.map(({ nodeName }) => nodeName)).toEqual(['007', 'true']);
  });

  it('yes, on and their likes are booleans as in YAML 1.1, unless quoted', () => {
    expect(agent('modules: {edgeDNS: {enable: yes}}').modules.edgeDNS.enable).toBe(true);
    expect(agent('modules: {edgeTunnel: {mdns: Off}}').modules.edgeTunnel.mdns).toBe(false);
    expect(problemsOf(() => agent('modules: {edgeDNS: {enable: "true"}}'))[0]?.message).toContain('remove the quotes');
  });

  it('an empty adminListen switches it off; addresses become canonical', () => {
    expect(agent('commonConfig: {adminListen: ""}').commonConfig.adminListen).toBe('');
    expect(agent('commonConfig: {adminListen: "[::0001]:80"}').commonConfig.adminListen).toBe('[::1]:80');
  });

  it('stub domains take one server or a list', () => {
    const text = 'modules: {edgeDNS: {stubDomains: {Example.ORG.: 1.1.1.1, a.b: [2.2.2.2:5353, "[fd00::1]:53"]}}}';
    expect(agent(text).modules.edgeDNS.stubDomains).toEqual({
      'example.org': ['1.1.1.1'],
      'a.b': ['2.2.2.2:5353', '[fd00::1]:53'],
    });
  });

  it('a key named __proto__ is a key like any other', () => {
    const { config, warnings } = parseAgentConfig('__proto__: {polluted: true}\nmodules: {edgeProxy: {enable: true}}');
    expect((config as unknown as Record<string, unknown>).polluted).toBeUndefined();
    expect(warnings[0]?.path).toBe('__proto__');
  });
});

describe('warnings', () => {
  it.each([
    ['modules: {edgeDNS: {enable: true, listenPrt: 53}}', 'modules.edgeDNS.listenPrt', 'did you mean listenPort?'],
    ['relayNodes: []\nmodules: {edgeDNS: {enable: true}}', 'relayNodes', 'did you mean modules.edgeTunnel.relayNodes?'],
    ['edgeProxy: {}\nmodules: {edgeDNS: {enable: true}}', 'edgeProxy', 'did you mean modules.edgeProxy?'],
    [
      'modules: {edgeTunnel: {enable: true, psk: {enable: false}}}',
      'modules.edgeTunnel.psk.enable',
      'can join the mesh',
    ],
    ['modules: {edgeTunnel: {enable: true, transport: quic}}', 'modules.edgeTunnel.transport', 'tcp is used'],
    [
      'modules: {edgeTunnel: {enable: true, relayNodes: [{nodeName: a}]}}',
      'modules.edgeTunnel.relayNodes[0].advertiseAddress',
      'no address',
    ],
    [
      'modules: {edgeTunnel: {enable: true, listenPort: 10551}}',
      'modules.edgeTunnel.listenPort',
      'also that of commonConfig.adminListen',
    ],
    [
      'commonConfig: {adminListen: ":10551"}\nmodules: {edgeDNS: {enable: true}}',
      'commonConfig.adminListen',
      'not on loopback',
    ],
    ['modules: {}', 'modules', 'no module is enabled'],
  ])('%s', (text, path, message) => {
    const { warnings } = parseAgentConfig(text);
    expect(warnings.map((warning) => warning.path)).toEqual([path]);
    expect(warnings[0]?.message).toContain(message);
  });
});
