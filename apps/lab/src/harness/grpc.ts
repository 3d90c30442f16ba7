import { fileURLToPath } from 'node:url';
import type { LabMachine } from '@edgemesh/testkit/netns';

const script = (name: string) => fileURLToPath(new URL(`./${name}`, import.meta.url));

/** What a gRPC client saw; statuses are gRPC's numbers. */
export interface GrpcReport {
  /** Answer, initial and trailing metadata of one call. */
  readonly unary: { readonly text: string; readonly header?: string; readonly trailer?: string };
  /** Messages that the server streamed. */
  readonly stream: readonly number[];
  /** A conversation, one message each after the answer to the one before. */
  readonly chat: readonly string[];
  readonly deadline: { readonly code: number; readonly ms: number };
  /** Whether the server was told that the client had given up. */
  readonly cancelled: boolean;
  readonly failure: { readonly code: number; readonly details: string; readonly trailer?: string };
  readonly unknownMethod: { readonly code: number };
  /** Calls that each server answered, of those over one channel. */
  readonly share: Readonly<Record<string, number>>;
}

/** Starts a gRPC server (@grpc/grpc-js) of this name at an address of the machine's own. */
export async function startGrpcServer(machine: LabMachine, name: string, address: string, port = 9000): Promise<void> {
  await machine.exec('ip', ['addr', 'add', `${address}/32`, 'dev', 'lo']);
  await machine.node(script('grpc-server-main.ts'), [name, `${address}:${port}`]).waitForLine('ready');
}

/** Makes all kinds of calls from a machine through `target`, asking for `authority`; with a CA over TLS. */
export async function callGrpc(
  machine: LabMachine,
  target: string,
  authority: string,
  caFile?: string,
): Promise<GrpcReport> {
  const client = machine.node(script('grpc-client-main.ts'), [target, authority, ...(caFile ? [caFile] : [])]);
  return JSON.parse(await client.waitForLine(/^\{/)) as GrpcReport;
}
