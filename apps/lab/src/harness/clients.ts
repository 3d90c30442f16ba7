import type { LabMachine } from '@edgemesh/testkit/netns';

/** `curl` with its timings; never rejects. */
export async function curl(machine: LabMachine, url: string, ...more: string[]) {
  const format = '\n%{http_code} %{time_total}';
  const args = ['-sS', '--max-time', '10', '-w', format, ...more, url];
  const { stdout, stderr, code } = await machine.exec('curl', args, { timeoutMs: 60_000 });
  const [status, seconds] = (stdout.split('\n').at(-1) ?? '').split(' ');
  return {
    code,
    stderr,
    status: Number(status),
    seconds: Number(seconds),
    body: stdout.slice(0, stdout.lastIndexOf('\n')),
  };
}

/** Sends text over TCP, half-closes, and returns all that comes back. */
export async function tcpExchange(machine: LabMachine, host: string, port: number, text: string) {
  const { stdout } = await machine.exec('nc', ['-N', '-w', '10', host, String(port)], { input: text });
  return stdout;
}

/** Sends datagrams of the given sizes one after the other and returns how each came back. Runs Node in the namespace. */
export async function udpExchange(machine: LabMachine, host: string, port: number, sizes: readonly number[]) {
  const script = `
    const socket = require('node:dgram').createSocket('udp4');
    const sizes = ${JSON.stringify(sizes)};
    const next = (i) => {
      if (i === sizes.length) return socket.close();
      const sent = Buffer.alloc(sizes[i], i + 1);
      const timer = setTimeout(() => { console.log('lost', sizes[i]); next(i + 1); }, 3000);
      socket.once('message', (m) => {
        clearTimeout(timer);
        const colon = m.indexOf(58);
        console.log(m.subarray(colon + 1).equals(sent) ? 'intact' : 'damaged', sizes[i], m.subarray(0, colon).toString());
        next(i + 1);
      });
      socket.send(sent, ${port}, '${host}');
    };
    next(0);`;
  const { stdout, stderr } = await machine.exec(process.execPath, ['-e', script], { timeoutMs: 60_000 });
  if (stderr !== '') throw new Error(stderr);
  return stdout.trim().split('\n');
}

/** Opens a WebSocket, sends the text and returns the messages that came (the greeting and the echo). */
export async function webSocketExchange(machine: LabMachine, url: string, text: string) {
  const script = `
    const socket = new WebSocket('${url}');
    const seen = [];
    socket.onmessage = (event) => { seen.push(event.data); if (seen.length === 1) socket.send(${JSON.stringify(text)}); else socket.close(); };
    socket.onclose = () => console.log(JSON.stringify(seen));
    socket.onerror = (event) => console.error(event.message ?? 'error');
    setTimeout(() => process.exit(1), 10000).unref();`;
  const { stdout, stderr } = await machine.exec(process.execPath, ['-e', script], { timeoutMs: 20_000 });
  if (stdout.trim() === '') throw new Error(`no WebSocket exchange with ${url}: ${stderr}`);
  return JSON.parse(stdout) as string[];
}
