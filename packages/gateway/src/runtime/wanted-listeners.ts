import type { GatewayPlan } from '../model.ts';
import type { ListenerSpec } from './open-listener.ts';

/** One listener per port and address. A port that is bound to addresses of its own has these to itself. */
export function wantedListeners(plan: GatewayPlan, addresses: readonly string[]): Map<string, ListenerSpec> {
  const wanted = new Map<string, ListenerSpec>();
  const bound = new Set(
    plan.ports.flatMap((port) =>
      (port.addresses ?? []).map((address) => `${address} ${port.port} ${port.kind === 'udp'}`),
    ),
  );
  for (const port of plan.ports) {
    for (const address of addresses) {
      const own = port.addresses?.includes(address);
      if (own === false || (own === undefined && bound.has(`${address} ${port.port} ${port.kind === 'udp'}`))) continue;
      const where = address.includes(':') ? `[${address}]` : address;
      const key = `${port.kind} ${where}:${port.port}`;
      if (!wanted.has(key)) wanted.set(key, { portId: port.id, kind: port.kind, host: address, port: port.port });
    }
  }
  return wanted;
}
