import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { messageOf } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { PortMappingOptions } from './options.ts';
import {
  type Answer,
  decodePcpMap,
  decodePmpAddress,
  decodePmpMap,
  encodePcpMap,
  encodePmpAddress,
  encodePmpMap,
  NONCE_BYTES,
  PCP_PORT,
} from './pcp-codec.ts';
import type { GrantedMapping, MappingGateway, MappingRequest } from './protocol.ts';

export interface DatagramGatewayOptions {
  /** Address of the router. */
  readonly host: string;
  /** Port of both protocols there, except in tests. */
  readonly port?: number;
  readonly options: PortMappingOptions;
}

/** Port Control Protocol, RFC 6887. */
export function createPcpGateway(gateway: DatagramGatewayOptions): MappingGateway {
  const nonce = randomBytes(NONCE_BYTES); // the same for renewals: it proves that the mapping is ours
  const map = async (request: MappingRequest, signal: AbortSignal): Promise<GrantedMapping> => {
    const { externalHost, externalPort, lifetimeSeconds } = await ask(gateway, signal, {
      request: (ownHost) => encodePcpMap(request, ownHost, nonce),
      read: (bytes) => decodePcpMap(bytes, request, nonce),
    });
    return { external: { host: externalHost, port: externalPort }, lifetimeSeconds };
  };
  return {
    protocol: 'pcp',
    map,
    unmap: async (request, signal) => void (await map({ ...request, lifetimeSeconds: 0 }, signal)),
  };
}

/** NAT Port Mapping Protocol, RFC 6886. */
export function createPmpGateway(gateway: DatagramGatewayOptions): MappingGateway {
  const askForPort = (request: MappingRequest, signal: AbortSignal) =>
    ask(gateway, signal, {
      request: () => encodePmpMap(request),
      read: (bytes) => decodePmpMap(bytes, request),
    });
  return {
    protocol: 'nat-pmp',
    async map(request, signal) {
      const host = await ask(gateway, signal, { request: encodePmpAddress, read: decodePmpAddress });
      const { externalPort, lifetimeSeconds } = await askForPort(request, signal);
      return { external: { host, port: externalPort }, lifetimeSeconds };
    },
    unmap: async (request, signal) => void (await askForPort({ ...request, lifetimeSeconds: 0 }, signal)),
  };
}

interface Question<T> {
  request(ownHost: string): Uint8Array;
  /** Undefined for what is no answer to it. */
  read(bytes: Buffer): Answer<T> | undefined;
}

/** Sends the question until it is answered. Only the router itself can answer: the socket is connected to it. */
function ask<T>(
  { host, port, options }: DatagramGatewayOptions,
  signal: AbortSignal,
  question: Question<T>,
): Promise<T> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  return new Promise<T>((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const fail = (why: string) => reject(new TunnelError('unreachable', `router ${host}: ${why}`, { retryable: true }));
    const send = (attempt: number) => {
      if (attempt === options.attempts) return fail('no answer');
      socket.send(question.request(socket.address().address));
      timer = setTimeout(() => send(attempt + 1), options.answerTimeoutMs * 2 ** attempt);
    };
    const onAbort = () => fail(messageOf(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('error', (error) => fail(messageOf(error)));
    socket.on('message', (bytes) => {
      const answer = question.read(bytes);
      if (answer?.type === 'ok') resolve(answer.value);
      else if (answer?.type === 'unsupported') fail('it speaks another version of the protocol');
      else if (answer?.type === 'refused') fail(`it refuses with result ${answer.code}`);
    });
    socket.once('close', () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    });
    if (signal.aborted) return onAbort();
    socket.connect(port ?? PCP_PORT, host, () => send(0));
  }).finally(() => socket.close());
}
