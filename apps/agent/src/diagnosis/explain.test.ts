import { createTestCatalog } from '@edgemesh/testkit';
import { makeEndpoint } from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { createBalancing } from '../modules/balancing.ts';
import { testService } from '../testing/catalog.ts';
import { type ExplainContext, explainService } from './explain.ts';

function setup(overrides: Partial<ExplainContext> = {}) {
  const view = createTestCatalog();
  const balancing = createBalancing({ view, nodeName: 'me', clusterDomain: 'cluster.local' });
  const explain = (service: ReturnType<typeof testService>) =>
    explainService(service, {
      nodeName: 'me',
      clusterDomain: 'cluster.local',
      catalog: view.current,
      include: () => true,
      kernelMode: true,
      balancing,
      isRoutable: ({ nodeName }) => nodeName !== 'far',
      peers: [],
      ...overrides,
    });
  return { view, explain };
}
const at = (nodeName: string, address: string, more = {}) =>
  makeEndpoint(address, { nodeName, port: 8080, portName: 'http', ...more });
const peer = { peerId: 'p', bytesIn: 0, bytesOut: 0, streams: 0, address: undefined, reason: undefined };

describe('the explanation of a Service', () => {
  it('says how each endpoint is reached and which are in use', () => {
    const { view, explain } = setup({
      peers: [{ ...peer, node: 'far', path: 'relayed', state: 'active', rttMs: 40 }],
    });
    const service = testService('web');
    view.put(service, [
      at('me', '10.0.0.1'),
      at('near', '10.0.0.2', { ready: false, serving: false }),
      at('far', '10.0.0.3'),
    ]);
    const { ports, problems } = explain(service);
    expect(ports[0]).toMatchObject({ chosenBy: 'agent', policy: 'roundRobin', rule: null });
    expect(ports[0]?.endpoints.map(({ used, reason, via, path }) => [used, reason, via, path])).toEqual([
      [true, '', 'this node', null],
      [false, 'not ready: look at the pod', 'route', null],
      [true, '', 'tunnel', 'relayed'],
    ]);
    expect(problems).toEqual([]);
  });

  it('tells endpoints that fail health checks from those that the cluster calls not ready', () => {
    const { view, explain } = setup({
      failedCheck: ({ address }, id) => (address === '10.0.0.2' && id === 'default/web' ? 'refused' : undefined),
    });
    const service = testService('web');
    view.put(service, [at('me', '10.0.0.1'), at('far', '10.0.0.2', { ready: false, serving: false })]);
    expect(explain(service).ports[0]?.endpoints.map(({ reason }) => reason)).toEqual([
      '',
      'fails the health checks of this node: refused',
    ]);
  });

  it('leaves to the kernel what it reaches', () => {
    const { view, explain } = setup();
    const service = testService('web');
    view.put(service, [at('me', '10.0.0.1'), at('near', '10.0.0.2')]);
    expect(explain(service).ports[0]?.chosenBy).toBe('kernel');
  });

  it('names what is wrong: no endpoints, none in use, no path', () => {
    const reason = 'relayed: the ticket was refused';
    const { view, explain } = setup({
      peers: [{ ...peer, node: 'far', path: undefined, state: 'failed', rttMs: undefined, reason }],
    });
    const [empty, unready, cut] = ['empty', 'unready', 'cut'].map((name) => testService(name));
    if (!empty || !unready || !cut) throw new TypeError('three were made');
    view.put(empty, []);
    view.put(unready, [at('me', '10.0.0.1', { ready: false, serving: false })]);
    view.put(cut, [at('far', '10.0.0.3')]);
    expect(explain(empty).problems.join()).toMatch(/no endpoints/);
    expect(explain(unready).problems.join()).toMatch(/none of 1 endpoints is in use/);
    expect(explain(cut).problems.join()).toContain(`no path to node far: ${reason}`);
  });

  it('tells Services that are not ours, and a proxy or tunnel that does not run', () => {
    const service = testService('web');
    const alien = setup({ include: () => false });
    alien.view.put(service, [at('me', '10.0.0.1')]);
    expect(alien.explain(service)).toMatchObject({ ports: [{ chosenBy: 'nobody' }] });
    expect(alien.explain(service).problems.join()).toMatch(/serviceFilterMode/);
    const bare = setup({ balancing: undefined });
    bare.view.put(service, [at('me', '10.0.0.1')]);
    expect(bare.explain(service).problems.join()).toMatch(/proxy of this agent is not running/);
    const closed = setup({ peers: undefined });
    closed.view.put(service, [at('far', '10.0.0.1')]);
    expect(closed.explain(service).problems.join()).toMatch(/tunnel, which is not running/);
  });
});
