import { type ConfigChange, parseAgentConfig } from '@edgemesh/config';
import { describe, expect, it } from 'vitest';
import { planRelays, planReload } from './reload.ts';

const MODULES = [
  { name: 'admin' },
  { name: 'dns', section: 'edgeDNS' },
  { name: 'proxy', section: 'edgeProxy' },
  { name: 'health-checks', section: 'edgeProxy' },
  { name: 'socks5', section: 'edgeProxy.socks5Proxy' },
  { name: 'tunnel', section: 'edgeTunnel' },
] as const;
const change = (path: string, apply: ConfigChange['apply'] = 'module'): ConfigChange => {
  const module = /^modules\.(\w+)/.exec(path)?.[1];
  return { path, apply, ...(module !== undefined && { module }) };
};
const plan = (...changes: ConfigChange[]) => planReload(changes, MODULES);

describe('planReload', () => {
  it('restarts the modules of a section, each once', () => {
    expect(plan(change('modules.edgeProxy.udpIdleTimeout'), change('modules.edgeProxy.locality'))).toEqual({
      restart: ['proxy', 'health-checks'],
      later: [],
    });
    expect(plan(change('modules.edgeDNS.upstreamServers')).restart).toEqual(['dns']);
  });

  it('restarts nobody but the module whose own part has changed', () => {
    expect(plan(change('modules.edgeProxy.socks5Proxy.listenPort')).restart).toEqual(['socks5']);
  });

  it('restarts nobody for what is taken over live', () => {
    expect(plan(change('commonConfig.logLevel', 'live'))).toEqual({ restart: [], later: [] });
  });

  it.each(['modules.edgeDNS.enable', 'modules.edgeProxy.listeners', 'commonConfig.dataDir'])(
    'says that %s needs a restart of the agent',
    (path) => {
      expect(plan(change(path, 'process'))).toEqual({ restart: [], later: [path] });
    },
  );
});

describe('planRelays', () => {
  const relays = (...names: string[]) =>
    parseAgentConfig(
      JSON.stringify({
        modules: {
          edgeTunnel: { relayNodes: names.map((nodeName) => ({ nodeName, advertiseAddress: ['192.0.2.1'] })) },
        },
      }),
    ).config;

  it('hands other relays to the running tunnel', () => {
    expect(planRelays(relays('b'), relays('b', 'c'), 'a')).toBe('others');
    expect(planRelays(relays('a', 'b'), relays('a'), 'a')).toBe('others');
    expect(planRelays(relays('b'), relays('b'), 'a')).toBeUndefined();
  });

  it('starts the tunnel anew when this node becomes a relay, or no longer is one', () => {
    expect(planRelays(relays('b'), relays('b', 'a'), 'a')).toBe('own');
    expect(planRelays(relays('b', 'a'), relays('b'), 'a')).toBe('own');
  });
});
