import type { ConfigChange } from '@edgemesh/config';
import { describe, expect, it } from 'vitest';
import { planReload } from './reload.ts';

const MODULES = [
  { name: 'admin' },
  { name: 'dns', section: 'edgeDNS' },
  { name: 'proxy', section: 'edgeProxy' },
  { name: 'socks5', section: 'edgeProxy' },
  { name: 'tunnel', section: 'edgeTunnel' },
] as const;
const change = (path: string, apply: ConfigChange['apply'] = 'module'): ConfigChange => {
  const module = /^modules\.(\w+)/.exec(path)?.[1];
  return { path, apply, ...(module !== undefined && { module }) };
};
const plan = (...changes: ConfigChange[]) => planReload(changes, MODULES);

describe('planReload', () => {
  it('restarts the modules of a section, each once', () => {
    expect(
      plan(change('modules.edgeProxy.udpIdleTimeout'), change('modules.edgeProxy.socks5Proxy.listenPort')),
    ).toEqual({
      relays: false,
      restart: ['proxy', 'socks5'],
      later: [],
    });
    expect(plan(change('modules.edgeDNS.upstreamServers', 'live')).restart).toEqual(['dns']);
  });

  it('hands new relays to the running tunnel', () => {
    expect(plan(change('modules.edgeTunnel.relayNodes', 'live'))).toEqual({ relays: true, restart: [], later: [] });
  });

  it.each(['modules.edgeDNS.enable', 'modules.edgeProxy.listeners', 'modules.edgeProxy.virtualAddresses.cidr'])(
    'says that %s needs a restart of the agent',
    (path) => {
      expect(plan(change(path))).toEqual({ relays: false, restart: [], later: [path] });
    },
  );

  it('says so for what belongs to the process too', () => {
    expect(plan(change('commonConfig.dataDir', 'process')).later).toEqual(['commonConfig.dataDir']);
  });
});
