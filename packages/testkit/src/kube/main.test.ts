import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { createWireClient } from './wire-client.ts';

const map = (name: string) => `{apiVersion: v1, kind: ConfigMap, metadata: {name: ${name}}}\n`;

async function startProcess(folder: string) {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  const flags = ['--conditions=@edgemesh/source', main, '--folder', folder, '--metaserver', '--stall-ms', '20'];
  const child = spawn(process.execPath, flags, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const urls = JSON.parse(line) as { api: string; metaServer: string; control: string };
  return {
    urls,
    async [Symbol.asyncDispose]() {
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      expect((await exited)[0]).toBe(0);
    },
  };
}

it('runs as a process: follows a folder, serves both APIs, obeys control requests', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'kube-fake-'));
  try {
    await writeFile(join(folder, 'a.yaml'), map('a'));
    await using t = await startProcess(folder);
    const [api, edge, control] = [
      createWireClient(t.urls.api),
      createWireClient(t.urls.metaServer),
      createWireClient(t.urls.control),
    ];
    const path = '/api/v1/configmaps';
    expect((await edge.get(path)).names).toEqual(['a']);
    await writeFile(join(folder, 'a.yaml'), `${map('a')}---\n${map('b')}`);
    await expect.poll(async () => (await api.get(path)).names).toEqual(['a', 'b']);
    await rm(join(folder, 'a.yaml'));
    await expect.poll(async () => (await api.get(path)).names).toEqual([]);
    expect((await control.send('POST', '/_control/apply', map('c'))).body).toMatchObject({ ok: true, result: 1 });
    expect((await control.send('POST', '/_control/fail', { code: 503, resource: 'configmaps' })).status).toBe(200);
    expect((await api.get(path)).status).toBe(503);
    expect((await control.send('POST', '/_control/disconnect', { silent: false })).status).toBe(200);
    expect((await edge.get(path)).names).toEqual([]);
    expect((await control.get('/_control/state')).body).toMatchObject({
      metaServer: { connected: false, cloudcore: { up: true } },
    });
    expect((await control.send('POST', '/_control/delay', {})).body).toEqual({ error: 'ms must be a number' });
    expect((await control.send('POST', '/_control/nonsense')).status).toBe(404);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
