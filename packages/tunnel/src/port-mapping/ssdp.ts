import { createSocket } from 'node:dgram';
import { messageOf } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { PortMappingOptions } from './options.ts';

const GROUP = '239.255.255.250';
const SSDP_PORT = 1_900;
/** Devices of version 2 answer to version 1, too. */
const TARGET = 'urn:schemas-upnp-org:device:InternetGatewayDevice:1';
const SEARCH = [
  'M-SEARCH * HTTP/1.1',
  `HOST: ${GROUP}:${SSDP_PORT}`,
  'MAN: "ssdp:discover"',
  'MX: 1',
  `ST: ${TARGET}`,
  '',
  '',
].join('\r\n');
/** The router may wait as long as MX says before it answers, in milliseconds. */
const MAX_DELAY_MS = 1_000;

export interface SsdpSearch {
  /** Address of the router; answers of anybody else are ignored, whatever they offer. */
  readonly gateway: string;
  /** Where the search goes; the multicast group of UPnP, except in tests. */
  readonly target?: { readonly host: string; readonly port: number };
  readonly options: PortMappingOptions;
  readonly signal: AbortSignal;
}

/** Where the router describes itself. Rejects with TunnelError when it does not answer. */
export function findDescription({ gateway, target, options, signal }: SsdpSearch): Promise<URL> {
  const socket = createSocket('udp4');
  return new Promise<URL>((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const fail = (why: string) => reject(new TunnelError('unreachable', `UPnP search: ${why}`, { retryable: true }));
    const send = (attempt: number) => {
      if (attempt === options.attempts) return fail('no answer');
      socket.send(SEARCH, target?.port ?? SSDP_PORT, target?.host ?? GROUP);
      timer = setTimeout(() => send(attempt + 1), options.answerTimeoutMs * 2 ** attempt + MAX_DELAY_MS / 2);
    };
    const onAbort = () => fail(messageOf(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('error', (error) => fail(messageOf(error)));
    socket.on('message', (bytes, from) => {
      const location = from.address === gateway ? readLocation(bytes.toString('latin1'), gateway) : undefined;
      if (location !== undefined) resolve(location);
    });
    socket.once('close', () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    });
    if (signal.aborted) return onAbort();
    socket.bind(0, () => send(0));
  }).finally(() => socket.close());
}

/** The LOCATION of an answer that says 200; it must be on the router itself, or we could be sent anywhere. */
export function readLocation(answer: string, gateway: string): URL | undefined {
  if (!/^HTTP\/1\.[01] 200/.test(answer)) return undefined;
  const text = /^location:[ \t]*(\S+)[ \t]*$/im.exec(answer)?.[1];
  if (text === undefined || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  return url.protocol === 'http:' && url.hostname === gateway ? url : undefined;
}
