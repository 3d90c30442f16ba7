import type { AgentModule } from '../context.ts';
import { adminModule } from './admin.ts';
import { cniModule } from './cni.ts';
import { dnsModule } from './dns.ts';
import { endpointChecksModule } from './endpoint-checks.ts';
import { gatewayModule } from './gateway.ts';
import { healthChecksModule } from './health-checks.ts';
import { kernelModule } from './kernel.ts';
import { metricsModule, profilingModule } from './listeners.ts';
import { proxyModule } from './proxy.ts';
import { socks5Module } from './socks5.ts';
import { tunnelModule } from './tunnel.ts';

/** All modules, in the order in which they start: what is seen first, names, proxies, pods, the tunnel, then whoever is outside. */
export const MODULES: readonly AgentModule[] = [
  adminModule,
  metricsModule,
  profilingModule,
  kernelModule,
  dnsModule,
  proxyModule,
  healthChecksModule,
  socks5Module,
  cniModule,
  tunnelModule,
  endpointChecksModule,
  gatewayModule,
];

/** The order of the end: rules go first, then connections may end, then the tunnel that carries them; what watches goes last. */
export const STOP_ORDER: readonly string[] = [
  'endpoint-checks',
  'health-checks',
  'gateway',
  'proxy',
  'socks5',
  'cni',
  'tunnel',
  'dns',
  'kernel',
  'profiling',
  'metrics',
  'admin',
];
