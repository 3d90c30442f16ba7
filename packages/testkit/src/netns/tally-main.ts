// Connects (or sends a datagram) many times and prints how often which responder answered, as one line of JSON.
// Usage: node tally-main.ts '{"address":"10.96.0.1","port":80,"protocol":"tcp","count":100,"timeoutMs":1000}'
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';

interface TallyArguments {
  readonly address: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
  readonly count: number;
  readonly timeoutMs: number;
}

const options = JSON.parse(process.argv[2] as string) as TallyArguments;

function overTcp(): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: options.address, port: options.port });
    const done = (answer: string) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(options.timeoutMs, () => done('timeout'));
    socket.once('data', (data) => done(data.toString().split(/\s/)[0] as string));
    socket.once('end', () => done('closed'));
    socket.once('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message));
  });
}

function overUdp(): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket(options.address.includes(':') ? 'udp6' : 'udp4');
    const done = (answer: string) => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => done('timeout'), options.timeoutMs);
    socket.once('message', (message) => done(message.toString().split(' ')[0] as string));
    socket.once('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message));
    // Connected, so that an ICMP refusal arrives as an error.
    socket.connect(options.port, options.address, () => socket.send('tally'));
  });
}

const answers: Record<string, number> = {};
for (let i = 0; i < options.count; i++) {
  const answer = await (options.protocol === 'tcp' ? overTcp() : overUdp());
  answers[answer] = (answers[answer] ?? 0) + 1;
}
console.log(JSON.stringify(answers));
