import { describe, expect, it } from 'vitest';
import { diffConfig } from './diff.ts';
import { parseAgentConfig, parseServerConfig } from './parse.ts';

const agent = (text: string) => parseAgentConfig(text).config;

describe('differences of two configurations', () => {
  it('of the same text are none', () => {
    expect(diffConfig(agent('modules: {edgeDNS: {enable: true}}'), agent('modules: {edgeDNS: {enable: yes}}'))).toEqual(
      [],
    );
  });

  it('tell for each key what it needs', () => {
    const before = agent('');
    const after = agent(`commonConfig: {logLevel: debug, dataDir: /x}
modules:
  edgeDNS: {enable: true, listenPort: 5353, stubDomains: {a.b: 1.1.1.1}}
  edgeTunnel: {relayNodes: [{nodeName: a, advertiseAddress: [1.1.1.1]}]}`);
    expect(diffConfig(before, after)).toEqual([
      { path: 'commonConfig.dataDir', apply: 'process' },
      { path: 'commonConfig.logLevel', apply: 'live' },
      { path: 'modules.edgeDNS.enable', apply: 'process', module: 'edgeDNS' },
      { path: 'modules.edgeDNS.listenPort', apply: 'module', module: 'edgeDNS' },
      { path: 'modules.edgeDNS.stubDomains', apply: 'module', module: 'edgeDNS' },
      { path: 'modules.edgeTunnel.relayNodes', apply: 'live', module: 'edgeTunnel' },
    ]);
  });

  it('another kind needs a new process; servers are compared too', () => {
    expect(diffConfig(agent(''), agent('kind: EdgeMeshGateway'))).toEqual([{ path: 'kind', apply: 'process' }]);
    const changed = parseServerConfig('relay: {maxCircuits: 5}').config;
    expect(diffConfig(parseServerConfig('').config, changed)).toEqual([
      { path: 'relay.maxCircuits', apply: 'process' },
    ]);
  });
});
