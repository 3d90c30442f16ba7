import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LabMachine, LabProcess } from '@edgemesh/testkit/netns';

/** A client that keeps one connection or UDP socket and is told line by line what to send. */
export interface Talker {
  /** Sends the text and resolves with what comes back, or `silence` after a second. */
  say(text: string): Promise<string>;
  end(): Promise<void>;
}

let talkers = 0;

/** Opens a TCP connection, or a UDP socket with one port of its own, and keeps it. */
export async function startTalker(
  machine: LabMachine,
  folder: string,
  to: { readonly protocol: 'tcp' | 'udp'; readonly address: string; readonly port: number },
): Promise<Talker> {
  const file = join(folder, `talker-${talkers++}.cjs`);
  const open =
    to.protocol === 'udp'
      ? `const s = require('node:dgram').createSocket('${to.address.includes(':') ? 'udp6' : 'udp4'}');
         s.on('message', answer); s.on('error', (e) => answer(e.code));
         s.connect(${to.port}, '${to.address}', () => console.log('ready'));
         const send = (text) => s.send(text);`
      : `const s = require('node:net').connect(${to.port}, '${to.address}', () => console.log('ready'));
         s.on('data', answer); s.on('error', (e) => answer(e.code)); s.on('end', () => answer('ended'));
         const send = (text) => s.write(text);`;
  await writeFile(
    file,
    `let timer;
     const answer = (data) => { clearTimeout(timer); console.log('answer ' + String(data).trim().replaceAll('\\n', ' ')); };
     ${open}
     require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
       timer = setTimeout(() => answer('silence'), 1000);
       send(line);
     });`,
  );
  const process_ = machine.spawn(process.execPath, [file]);
  await process_.waitForLine('ready');
  const answers = () => process_.lines.filter((line) => line.startsWith('answer '));
  if (to.protocol === 'tcp') await process_.waitFor(() => answers().length > 0);
  return {
    async say(text) {
      const before = answers().length;
      process_.write(`${text}\n`);
      await process_.waitFor(() => answers().length > before);
      return (answers()[before] as string).slice('answer '.length);
    },
    end: async () => void (await process_.kill()),
  };
}

/** Requests over new connections, `parallel` at a time, until told to stop: how many went well, and how the others failed. */
export async function startLoad(
  machine: LabMachine,
  folder: string,
  url: string,
  parallel = 4,
): Promise<{ stop(): Promise<{ ok: number; failures: Record<string, number>; by: Record<string, number> }> }> {
  const file = join(folder, `load-${talkers++}.cjs`);
  await writeFile(
    file,
    `const http = require('node:http');
     const seen = { ok: 0, failures: {}, by: {} };
     let running = true;
     const count = (map, key) => { map[key] = (map[key] ?? 0) + 1; };
     const once = () => new Promise((resolve) => {
       const request = http.get('${url}', { agent: false, timeout: 3000 }, (response) => {
         let body = '';
         response.on('data', (chunk) => { body += chunk; });
         response.on('end', () => { if (response.statusCode === 200) { seen.ok++; count(seen.by, JSON.parse(body).name); } else count(seen.failures, response.statusCode); resolve(); });
       });
       request.on('timeout', () => request.destroy(new Error('timeout')));
       request.on('error', (error) => { count(seen.failures, error.code ?? error.message); resolve(); });
     });
     const loop = async () => { while (running) await once(); };
     console.log('ready');
     const loops = Array.from({ length: ${parallel} }, loop);
     process.stdin.on('data', async () => { running = false; await Promise.all(loops); console.log('result ' + JSON.stringify(seen)); process.exit(); });`,
  );
  const child: LabProcess = machine.spawn(process.execPath, [file]);
  await child.waitForLine('ready');
  return {
    async stop() {
      child.write('stop\n');
      const line = await child.waitForLine(/^result /);
      return JSON.parse(line.slice('result '.length));
    },
  };
}
