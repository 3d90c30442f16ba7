import { parseAgentConfig } from '@edgemesh/config';
import { describe, expect, it } from 'vitest';
import { metricsModule, profilingModule } from './listeners.ts';

const config = (value: object) => parseAgentConfig(JSON.stringify(value)).config;

describe('further listeners', () => {
  it('serve metrics where the tunnel is on and its metrics are', () => {
    const edgeTunnel = { enable: true, metricConfig: { enable: true } };
    expect(metricsModule.isWanted(config({ modules: { edgeTunnel } }), true)).toBe(true);
    expect(metricsModule.isWanted(config({ modules: { edgeTunnel: { ...edgeTunnel, enable: false } } }), true)).toBe(
      false,
    );
    expect(metricsModule.isWanted(config({}), true)).toBe(false);
  });

  it('serve profiles when asked to, on a listener of their own unless it is that of health and metrics', () => {
    const wanted = (pprofConfig: object, more = {}) =>
      profilingModule.isWanted(config({ commonConfig: { pprofConfig, ...more } }), true);
    expect(wanted({})).toBe(false);
    expect(wanted({ enableProfiling: true })).toBe(true);
    expect(wanted({ enableProfiling: true, profilingPort: 10_551 })).toBe(false);
    expect(wanted({ enableProfiling: true, profilingPort: 10_551 }, { adminListen: '' })).toBe(true);
  });
});
