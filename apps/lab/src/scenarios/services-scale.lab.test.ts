import { expect, it } from 'vitest';
import { startScale } from '../bench/scale.ts';
import { cpuSeconds } from '../bench/tools.ts';
import { createMesh } from '../harness/mesh.ts';

const CHANGES = 12;

it('shows one change among 2,000 Services at once, without working through them all', async () => {
  await using mesh = await createMesh({ hosts: { a: { lan: 'home' }, api: { lan: 'home' } } });
  const { agent, change } = await startScale(mesh, 'API server', { services: 2_000, endpointsEach: 10 });
  const used = () => cpuSeconds(agent.machine, agent.process.pid);
  const before = await used();
  const times = await change(CHANGES);
  const cpuMs = (((await used()) - before) * 1_000) / CHANGES;
  // 30 ms and 10 ms on a quiet machine; a tenth of a second per thousand Services is what nobody shall get back to.
  expect(times[CHANGES / 2]).toBeLessThan(1_000);
  expect(cpuMs).toBeLessThan(150);
}, 90_000);
