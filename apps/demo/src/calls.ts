import { createSocket } from 'node:dgram';
import { get } from 'node:http';
import { connect } from 'node:net';
import { decode, encode } from 'dns-packet';
import { WebSocket } from 'ws';
import type { ServicePlan } from './topology.ts';

const TIMEOUT_MS = 5_000;

/** Asks a DNS server for the address of a name, by a real query over UDP. */
export function resolve(name: string, server: { readonly address: string; readonly port: number }): Promise<string> {
  return withDeadline(`DNS query for ${name}`, (done, fail) => {
    const socket = createSocket('udp4');
    socket.once('error', fail);
    socket.once('message', (message) => {
      const answer = decode(message).answers?.find((record) => record.type === 'A');
      if (answer?.type === 'A') done(answer.data);
      else fail(new Error(`${name} has no address`));
    });
    const question = { type: 'A', name } as const;
    socket.send(encode({ type: 'query', id: 1, flags: 0x0100, questions: [question] }), server.port, server.address);
    return () => socket.close();
  });
}

/** Calls a Service at an address in its own protocol; resolves with what the backend says of itself. */
export function call(service: ServicePlan, address: string): Promise<string> {
  const where = { host: address, port: service.port };
  if (service.protocol === 'UDP') return callUdp(where);
  if (service.portName === 'http') return callHttp(where);
  if (service.portName === 'http-ws') return callWebSocket(where);
  return callTcp(where);
}

type Where = { readonly host: string; readonly port: number };

function callHttp(where: Where): Promise<string> {
  return withDeadline('HTTP request', (done, fail) => {
    const request = get({ ...where, agent: false }, (response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.once('error', fail);
      response.once('end', () =>
        response.statusCode === 200 ? done(body.trim()) : fail(new Error(`status ${response.statusCode}`)),
      );
    });
    request.once('error', fail);
    return () => request.destroy();
  });
}

/** Sends a line and half-closes: the echo must come back all the same. */
function callTcp(where: Where): Promise<string> {
  return withDeadline('TCP echo', (done, fail) => {
    const socket = connect({ ...where, allowHalfOpen: true });
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.once('error', fail);
    socket.once('end', () => {
      const [greeting = '', echo] = text.split('\n');
      if (echo === 'ping') done(greeting);
      else fail(new Error(`the echo was ${JSON.stringify(echo)}`));
    });
    socket.end('ping\n');
    return () => socket.destroy();
  });
}

function callWebSocket({ host, port }: Where): Promise<string> {
  return withDeadline('WebSocket', (done, fail) => {
    const socket = new WebSocket(`ws://${host}:${port}/`);
    let greeting: string | undefined;
    socket.on('error', fail);
    socket.on('message', (data) => {
      if (greeting === undefined) {
        greeting = data.toString();
        socket.send('ping');
      } else if (data.toString() === 'ping') {
        done(greeting);
      } else {
        fail(new Error('the echo differs'));
      }
    });
    return () => socket.terminate();
  });
}

function callUdp({ host, port }: Where): Promise<string> {
  return withDeadline('UDP echo', (done, fail) => {
    const socket = createSocket('udp4');
    socket.once('error', fail);
    socket.once('message', (message) => {
      const [node, echo] = message.toString().split(':');
      if (echo === 'ping') done(`hello from ${node}`);
      else fail(new Error('the echo differs'));
    });
    socket.send('ping', port, host);
    return () => socket.close();
  });
}

/** Runs one exchange within its time and cleans up after it, whatever the end. */
function withDeadline(
  what: string,
  run: (done: (text: string) => void, fail: (error: Error) => void) => () => void,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let cleanUp: (() => void) | undefined;
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      queueMicrotask(() => {
        cleanUp?.();
        cleanUp = undefined;
      });
      settle();
    };
    const timer = setTimeout(
      () => finish(() => reject(new Error(`${what}: no answer within ${TIMEOUT_MS / 1000} s`))),
      TIMEOUT_MS,
    );
    cleanUp = run(
      (text) => finish(() => resolve(text)),
      (error) => finish(() => reject(new Error(`${what}: ${error.message}`))),
    );
  });
}
