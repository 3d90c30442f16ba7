import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { LabMachine } from './lab.ts';
import type { LabProcess } from './process.ts';

export interface ResponderOptions {
  /** What it answers with. Default: the machine's name. */
  readonly name?: string;
  /** Address to listen on. Default `0.0.0.0`. */
  readonly host?: string;
  /** Ports that answer HTTP with `{"name", "client", "clientPort"}`. */
  readonly http?: readonly number[];
  /** Ports that greet with `name client\n` and then echo, with half-close. */
  readonly tcp?: readonly number[];
  /** Ports that answer each datagram with `name client port message`. */
  readonly udp?: readonly number[];
}

/** Starts a server that says who it is and whom it sees; resolves when all ports listen. */
export async function startResponder(machine: LabMachine, options: ResponderOptions): Promise<LabProcess> {
  const source = fileURLToPath(new URL('./responder-main.ts', import.meta.url));
  const file = existsSync(source) ? source : fileURLToPath(new URL('./responder-main.js', import.meta.url));
  const full = { name: machine.name, host: '0.0.0.0', http: [], tcp: [], udp: [], ...options };
  const process = machine.node(file, [JSON.stringify(full)]);
  await process.waitForLine('ready');
  return process;
}
