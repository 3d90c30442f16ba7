import { type ByteSink, type ByteStream, type Dialer, type Endpoint, endpointKey, MeshError } from '@edgemesh/core';
import { createFakeClock, createTestCatalog } from '@edgemesh/testkit';
import { makeEndpoint } from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { makeService } from '../testing/catalog.ts';
import { createCheckedCatalog } from './checked-catalog.ts';
import { HEALTH_CHECK_ANNOTATIONS } from './health-check.ts';
import { createHealthChecker, type HealthCheckerOptions } from './health-checker.ts';

const defaults = {
  kind: 'none',
  path: '/',
  intervalMs: 10_000,
  timeoutMs: 1_000,
  healthyThreshold: 2,
  unhealthyThreshold: 2,
  maxEjectionPercent: 100,
} as const;
const annotated = { annotations: { [HEALTH_CHECK_ANNOTATIONS.kind]: 'tcp' } };
const web = makeService('web', [{ name: 'http', protocol: 'TCP', port: 80 }], annotated);
const [one, two, three] = [1, 2, 3].map((n) =>
  makeEndpoint(`10.0.0.${n}`, { portName: 'http', nodeName: `node-${n}` }),
) as [Endpoint, Endpoint, Endpoint];
const turns = async () => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

/** A dialer that accepts at once, or refuses addresses that are down, or does not answer at all. */
function fakeDialer() {
  const down = new Set<string>();
  const dialled: string[] = [];
  let open = 0;
  let most = 0;
  const held: (() => void)[] = [];
  const state = { down, dialled, held, hold: false, most: () => most };
  const dial: Dialer['dial'] = ({ address }) => {
    dialled.push(address);
    most = Math.max(most, ++open);
    let sink: ByteSink | undefined;
    let closed = false;
    const close = (error?: MeshError) => {
      if (closed) return;
      closed = true;
      open--;
      sink?.closed(error);
    };
    const answer = () => (down.has(address) ? close(new MeshError('refused', 'refused')) : sink?.opened?.());
    return {
      attach(given) {
        sink = given;
        if (state.hold) held.push(answer);
        else queueMicrotask(answer);
      },
      write: () => true,
      end: () => close(),
      reset: (error) => close(error),
      pause: () => undefined,
      resume: () => undefined,
    } satisfies ByteStream;
  };
  const dialer = { dial, openDatagrams: () => Promise.reject(new Error('not here')) as never };
  return Object.assign(state, { dialer });
}

function start(endpoints: readonly Endpoint[], options: Partial<HealthCheckerOptions> = {}) {
  const clock = createFakeClock();
  const catalog = createTestCatalog();
  catalog.put(web, endpoints);
  const view = createCheckedCatalog(catalog);
  const network = fakeDialer();
  const recovered: string[] = [];
  const checker = createHealthChecker(
    { defaults, ...options },
    {
      catalog,
      dialer: network.dialer,
      leaveOut: view.leaveOut,
      recovered: (_, { address, portName }) => void recovered.push(`${address} ${portName}`),
      clock,
      random: () => 0.5,
    },
  );
  const advance = async (ms: number) => {
    for (let done = 0; done < ms; done += 500) {
      clock.advance(500);
      await turns();
    }
  };
  const ready = () =>
    (view.current.endpoints.get(web.id) ?? []).filter((endpoint) => endpoint.ready).map(({ address }) => address);
  return { catalog, view, network, checker, clock, advance, ready, recovered };
}

describe('health checker', () => {
  it('leaves an endpoint out that fails, says so, and takes it back', async () => {
    const { network, advance, ready, checker, recovered } = start([one, two]);
    network.down.add(one.address);
    await advance(30_000);
    expect(ready()).toEqual([two.address]);
    expect(recovered).toEqual([]);
    expect(checker.status).toMatchObject({
      checked: 2,
      failing: [{ service: web.id, address: one.address, nodeName: 'node-1', reason: 'refused', leftOut: true }],
    });
    network.down.clear();
    await advance(30_000);
    expect(ready()).toEqual([one.address, two.address]);
    expect(checker.status.failing).toEqual([]);
    expect(recovered).toEqual([`${one.address} http`]);
    await checker[Symbol.asyncDispose]();
  });

  it('spreads the first checks, then keeps the interval, a tenth more or less', async () => {
    const { network, advance, checker } = start([one]);
    await advance(4_500);
    expect(network.dialled).toEqual([]);
    await advance(500);
    expect(network.dialled).toHaveLength(1);
    await advance(100_000);
    expect(network.dialled).toHaveLength(11);
    await checker[Symbol.asyncDispose]();
  });

  it('leaves nobody out when all fail, and says that they are in use', async () => {
    const { network, advance, ready, checker } = start([one, two]);
    network.down.add(one.address).add(two.address);
    await advance(40_000);
    expect(ready()).toHaveLength(2);
    expect(checker.status.failing.map(({ leftOut }) => leftOut)).toEqual([false, false]);
    await checker[Symbol.asyncDispose]();
  });

  it('follows the catalog: history stays with endpoints that stay, nothing is left of what went', async () => {
    const { catalog, network, advance, ready, checker, clock } = start([one, two]);
    network.down.add(one.address);
    await advance(30_000);
    catalog.put(web, [{ ...one }, two, three]);
    expect(ready()).toEqual([two.address, three.address]);
    catalog.put({ ...web, annotations: {} }, [one, two]);
    expect(ready()).toEqual([one.address, two.address]);
    expect(checker.status.checked).toBe(0);
    expect(clock.pendingTimers).toBe(0);
    catalog.put(web, [one, two]);
    await advance(30_000);
    expect(ready()).toEqual([two.address]);
    catalog.remove(web.id);
    expect(checker.status).toEqual({ checked: 0, unchecked: 0, failing: [], problems: {} });
    await checker[Symbol.asyncDispose]();
  });

  it('does not check what the cluster calls not ready, nor UDP', async () => {
    const { checker } = start([{ ...one, ready: false }, { ...two, protocol: 'UDP' }, three]);
    expect(checker.status.checked).toBe(1);
    await checker[Symbol.asyncDispose]();
  });

  it('checks one port on behalf of all, where the Service says so', async () => {
    const { catalog, network, advance, view, checker, recovered } = start([]);
    const annotations = { ...annotated.annotations, [HEALTH_CHECK_ANNOTATIONS.port]: 'http' };
    const other = { ...one, portName: 'dns', port: 53, protocol: 'UDP' } as const;
    catalog.put({ ...web, annotations }, [one, other, two, { ...other, address: two.address, nodeName: 'node-2' }]);
    network.down.add(one.address);
    await advance(30_000);
    expect(checker.status.checked).toBe(2);
    expect(view.current.endpoints.get(web.id)?.map(({ ready }) => ready)).toEqual([false, false, true, true]);
    expect(checker.whyLeftOut(other, web.id)).toBe('refused');
    expect(checker.whyLeftOut(two, web.id)).toBeUndefined();
    network.down.clear();
    await advance(30_000);
    expect(recovered).toEqual([`${one.address} http`, `${one.address} dns`]);
    await checker[Symbol.asyncDispose]();
  });

  it('checks a bounded number at once, and a bounded number at all', async () => {
    const many = Array.from({ length: 9 }, (_, i) => makeEndpoint(`10.0.1.${i}`, { portName: 'http' }));
    const { network, advance, checker } = start(many, { maxConcurrent: 2, maxEndpoints: 7 });
    network.hold = true;
    await advance(5_500);
    expect(network.dialled).toHaveLength(2);
    for (let answered = 0; answered < 7; answered++) {
      network.held.shift()?.();
      await turns();
    }
    expect(new Set(network.dialled).size).toBe(7);
    expect(network.most()).toBe(2);
    expect(checker.status).toMatchObject({ checked: 7, unchecked: 2 });
    await checker[Symbol.asyncDispose]();
  });

  it('gives everything back when it ends, also in the middle of a check', async () => {
    const { network, advance, ready, checker, clock } = start([one, two]);
    network.down.add(one.address);
    await advance(30_000);
    network.hold = true;
    await advance(10_000);
    await checker[Symbol.asyncDispose]();
    expect(ready()).toHaveLength(2);
    expect(clock.pendingTimers).toBe(0);
  });
});

describe('catalog with checks', () => {
  it('is the catalog itself while nothing is left out', () => {
    const catalog = createTestCatalog();
    catalog.put(web, [one]);
    const view = createCheckedCatalog(catalog);
    expect(view.current).toBe(catalog.current);
    catalog.touch();
    expect(view.current).toBe(catalog.current);
  });

  it('keeps lists and endpoints the same objects while nothing changes in them, and its revision grows', () => {
    const catalog = createTestCatalog();
    catalog.put(web, [one, two]);
    const view = createCheckedCatalog(catalog);
    const revisions = [view.current.revision];
    view.subscribe((current) => revisions.push(current.revision));
    view.leaveOut(web.id, new Set([endpointKey(one)]));
    const list = view.current.endpoints.get(web.id);
    catalog.touch();
    expect(view.current.endpoints.get(web.id)).toBe(list);
    expect(list?.[1]).toBe(two);
    view.leaveOut(web.id, new Set());
    expect(view.current.endpoints.get(web.id)).toEqual([one, two]);
    expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b));
  });
});
