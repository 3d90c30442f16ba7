/*
 * A gRPC server: arguments are its name, and the address and port to listen on.
 */
import { Metadata, Server, ServerCredentials, status, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { ECHO_METHODS, type EchoMessage } from './grpc-methods.ts';

const [name = '', address = ''] = process.argv.slice(2);
let cancelled = 0;

const trailer = (value: string): Metadata => {
  const metadata = new Metadata();
  metadata.set('x-trailer', value);
  return metadata;
};

type Call = {
  readonly request: EchoMessage;
  readonly metadata: Metadata;
  sendMetadata(metadata: Metadata): void;
  write(message: EchoMessage): void;
  end(metadata?: Metadata): void;
  on(event: 'data', listener: (message: EchoMessage) => void): void;
  on(event: 'end' | 'cancelled', listener: () => void): void;
};
type Answer = (error: object | null, message?: EchoMessage, trailer?: Metadata) => void;

const implementation = {
  say(call: Call, answer: Answer) {
    const header = new Metadata();
    for (const value of call.metadata.get('x-user')) header.set('x-header', `${name} saw ${String(value)}`);
    call.sendMetadata(header);
    answer(null, { text: `${call.request.text} from ${name}` }, trailer('bye'));
  },
  count(call: Call) {
    for (let i = 0; i < (call.request.count ?? 0); i++) call.write({ text: name, count: i });
    call.end(trailer('counted'));
  },
  chat(call: Call) {
    call.on('data', ({ text }) => call.write({ text: text.toUpperCase() }));
    call.on('end', () => call.end());
  },
  never(call: Call) {
    call.on('cancelled', () => cancelled++);
  },
  cancelled(_: Call, answer: Answer) {
    answer(null, { text: name, count: cancelled });
  },
  fail(_: Call, answer: Answer) {
    answer({ code: status.FAILED_PRECONDITION, details: 'not today, ü %', metadata: trailer('why') });
  },
};

const server = new Server();
server.addService(ECHO_METHODS, implementation as unknown as UntypedServiceImplementation);
server.bindAsync(address, ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
  process.stdout.write('ready\n');
});
