import { randomUUID } from 'node:crypto';
import { createNodeIdentity, deriveMeshSecrets } from '../identity/index.ts';
import type { RelayState } from '../types.ts';
import type { ControlPlaneOptions, ManagedControlPlane } from './control-options.ts';
import { createControlPlane } from './control-plane.ts';

/** Control planes of one mesh on loopback, which tests make one by one. */
export interface TestPlanes {
  readonly plane: (options: Partial<ControlPlaneOptions> & { nodeName: string }) => Promise<ManagedControlPlane>;
  /** Ends all that there are. */
  end(): Promise<void>;
}

export function createTestPlanes(common: Partial<ControlPlaneOptions> = {}): TestPlanes {
  const secrets = deriveMeshSecrets([randomUUID()]);
  let stack = new AsyncDisposableStack();
  return {
    async plane(options) {
      const identity = await createNodeIdentity();
      const listen = [{ host: '127.0.0.1', port: 0 }];
      return stack.use(await createControlPlane({ identity, secrets, listen, mdns: false, ...common, ...options }));
    },
    async end() {
      const ended = stack;
      stack = new AsyncDisposableStack();
      await ended.disposeAsync();
    },
  };
}

/** `host:port` of a plane. */
export function addressOf(control: ManagedControlPlane): string {
  const address = control.listenAddresses[0] as { host: string; port: number };
  return `${address.host}:${address.port}`;
}

/** The option `relays` that leads to these planes. */
export const relayOf = (...controls: ManagedControlPlane[]) =>
  controls.map((control) => ({ nodeName: control.nodeName, addresses: [addressOf(control)] }));

/** Resolves when the relays of a plane are as wanted. */
export function relaysWhen(
  control: ManagedControlPlane,
  wanted: (relays: readonly RelayState[]) => boolean,
): Promise<readonly RelayState[]> {
  return new Promise((resolve) => {
    const look = () => {
      if (!wanted(control.relays())) return;
      unhook();
      resolve(control.relays());
    };
    const unhook = control.onRelays(look);
    look();
  });
}

/** All relays are connected. */
export const connected = (relays: readonly RelayState[]) => relays.every((relay) => relay.state === 'connected');
