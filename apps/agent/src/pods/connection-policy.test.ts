import type { PolicyFlow } from '@edgemesh/cni';
import { type Dialer, type DialTarget, EMPTY_CATALOG, MeshError, type NodeInfo } from '@edgemesh/core';
import { describe, expect, it } from 'vitest';
import { createConnectionPolicy, guardDialer } from './connection-policy.ts';

const node = (name: string, n: number): NodeInfo => ({
  name,
  labels: {},
  internalIPs: [`192.168.0.${n}`],
  podCIDRs: [`10.244.${n}.0/24`, `fd44:${n}::/64`],
});
const nodes = new Map([node('me', 1), node('there', 2), node('third', 3)].map((one) => [one.name, one]));
const view = { current: { ...EMPTY_CATALOG, nodes }, subscribe: () => () => undefined };

function setup(permits: (flow: PolicyFlow) => boolean) {
  const asked: PolicyFlow[] = [];
  const policies = {
    permits(flow: PolicyFlow) {
      asked.push(flow);
      return permits(flow);
    },
  };
  return { asked, policy: createConnectionPolicy({ view: () => view, nodeName: 'me', policies: () => policies }) };
}
const request = (clientAddress: string, nodeName = 'there') => ({
  peerId: 'p',
  nodeName,
  kind: 'tcp' as const,
  address: '10.244.1.5',
  port: 80,
  clientAddress,
});

describe('what a peer asks for', () => {
  it.each([
    ['a pod of the peer', '10.244.2.9', 'there', ['10.244.2.9']],
    ['its pod by IPv6', 'fd44:2::9', 'there', ['fd44:2::9']],
    ['the peer, where it speaks for a pod of somebody else', '10.244.3.9', 'there', ['192.168.0.2']],
    ['the peer, where it speaks for a pod of ours', '10.244.1.9', 'there', ['192.168.0.2']],
    ['the peer, for clients from outside', '8.8.8.8', 'there', ['192.168.0.2']],
    ['the peer, where it says nothing', '', 'third', ['192.168.0.3']],
    ['nobody, for a node that is not known', '10.244.2.9', 'new', []],
  ])('comes from %s', (_, clientAddress, nodeName, peers) => {
    const { asked, policy } = setup(() => true);
    expect(policy.inbound(request(clientAddress, nodeName))).toBeUndefined();
    expect(asked).toEqual([{ direction: 'ingress', pod: '10.244.1.5', peers, protocol: 'TCP', port: 80 }]);
  });

  it('is refused with the policy as the reason, and another endpoint may do', () => {
    const { policy } = setup(() => false);
    const refused = policy.inbound(request('10.244.2.9'));
    expect(refused).toMatchObject({ code: 'forbidden', retryable: true, message: /NetworkPolicy.*10\.244\.1\.5/ });
  });

  it('is allowed without policies', () => {
    const policy = createConnectionPolicy({ view: () => view, nodeName: 'me', policies: () => undefined });
    expect(policy.inbound(request('10.244.2.9'))).toBeUndefined();
  });
});

describe('what a client of this node asks for', () => {
  const far: DialTarget = { address: '10.244.2.5', port: 80, nodeName: 'there' };
  const near: DialTarget = { address: '10.244.1.5', port: 80, nodeName: 'me' };
  const dial = (denied: PolicyFlow['direction'], target: DialTarget, clientAddress?: string) =>
    setup(({ direction }) => direction !== denied).policy.outbound(target, 'TCP', clientAddress)?.code;

  it('is subject to the egress policies of a pod, wherever it goes', () => {
    expect(dial('egress', far, '10.244.1.9')).toBe('forbidden');
    expect(dial('egress', near, '10.244.1.9')).toBe('forbidden');
  });

  it('is subject to the ingress policies of pods of this node only', () => {
    expect(dial('ingress', near, '10.244.1.9')).toBe('forbidden');
    expect(dial('ingress', far, '10.244.1.9')).toBeUndefined();
  });

  it('is always allowed for the node itself', () => {
    for (const client of [undefined, '192.168.0.1', '8.8.8.8']) expect(dial('ingress', near, client)).toBeUndefined();
  });

  it('never reaches the dialer when it is refused', async () => {
    const dialled: DialTarget[] = [];
    const inner = { dial: (target: DialTarget) => dialled.push(target) } as unknown as Dialer;
    const dialer = guardDialer(inner, setup(() => false).policy);
    const closed = Promise.withResolvers<MeshError | undefined>();
    const stream = dialer.dial(near, { clientAddress: '10.244.1.9' });
    stream.attach({ data: () => undefined, ended: () => undefined, drained: () => undefined, closed: closed.resolve });
    expect(await closed.promise).toBeInstanceOf(MeshError);
    const channel = Promise.withResolvers<MeshError | undefined>();
    dialer
      .openDatagrams(near, { clientAddress: '10.244.1.9' })
      .attach({ message: () => undefined, closed: channel.resolve });
    expect(await channel.promise).toMatchObject({ code: 'forbidden' });
    expect(dialled).toEqual([]);
    dialer.dial(near, {});
    expect(dialled).toEqual([near]);
  });
});
