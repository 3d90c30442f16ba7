// A server for lab scenarios: answers HTTP, TCP and UDP with its own name and the client that it sees.
// Usage: node responder-main.ts '{"name":"a","http":[80],"tcp":[7],"udp":[53],"host":"::"}'
import { createSocket } from 'node:dgram';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';

interface ResponderArguments {
  readonly name: string;
  readonly host: string;
  readonly http: readonly number[];
  readonly tcp: readonly number[];
  readonly udp: readonly number[];
}

const options = JSON.parse(process.argv[2] as string) as ResponderArguments;
const bare = (address = '') => address.replace(/^::ffff:/, '');
let waiting = options.http.length + options.tcp.length + options.udp.length;
const ready = () => {
  if (--waiting === 0) console.log('ready');
};

for (const port of options.http) {
  createHttpServer((request, response) => {
    const { remoteAddress, remotePort } = request.socket;
    response.setHeader('content-type', 'application/json');
    response.end(`${JSON.stringify({ name: options.name, client: bare(remoteAddress), clientPort: remotePort })}\n`);
  }).listen(port, options.host, ready);
}
for (const port of options.tcp) {
  createServer({ allowHalfOpen: true }, (socket) => {
    socket.write(`${options.name} ${bare(socket.remoteAddress)}\n`);
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
  }).listen(port, options.host, ready);
}
for (const port of options.udp) {
  const socket = createSocket(options.host.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', (message, from) => {
    socket.send(`${options.name} ${bare(from.address)} ${from.port} ${message}`, from.port, from.address);
  });
  socket.bind(port, options.host, ready);
}
