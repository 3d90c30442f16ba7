import type { Dialer, DialTarget } from '@edgemesh/core';

export interface MeshDialerOptions {
  /** This node. */
  readonly nodeName: string;
  /** Sockets by the local kernel. */
  readonly local: Dialer;
  /** Streams to other nodes; undefined when the tunnel is off. */
  readonly tunnel: () => Dialer | undefined;
  /** True when the local kernel reaches the target by itself although it is on another node. */
  readonly isRoutable: (target: DialTarget) => boolean;
}

/** The one place where it is decided whether a chosen endpoint is dialled by the kernel or through the tunnel. */
export function createMeshDialer(options: MeshDialerOptions): Dialer {
  const choose = (target: DialTarget): Dialer => {
    const here = target.nodeName === undefined || target.nodeName === options.nodeName;
    if (here || options.isRoutable(target)) return options.local;
    return options.tunnel() ?? options.local;
  };
  return {
    dial: (target, dialOptions) => choose(target).dial(target, dialOptions),
    openDatagrams: (target, dialOptions) => choose(target).openDatagrams(target, dialOptions),
  };
}
