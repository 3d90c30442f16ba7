import { type Clock, type Dialer, type DialTarget, MeshError } from '@edgemesh/core';
import type { HealthCheck } from './health-check.ts';

/** How one check went; `reason` says in a few words why it failed. */
export type ProbeResult = { readonly ok: true } | { readonly ok: false; readonly reason: string };

export interface ProbeDeps {
  readonly dialer: Dialer;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Bytes of an answer that are read to find its status line. */
const MAX_HEAD_BYTES = 1_024;
/** Milliseconds for the endpoint to close after a good check; then the connection is reset. */
const CLOSE_MS = 1_000;

/**
 * Checks one endpoint once, by the same dialer as its traffic. Never rejects; when the signal aborts, the check counts as failed
 * with reason `aborted`. `host` is what an HTTP check names in its Host header.
 */
export function probe(
  target: DialTarget,
  check: Pick<HealthCheck, 'kind' | 'path' | 'timeoutMs'> & { readonly host: string },
  { dialer, clock, signal }: ProbeDeps,
): Promise<ProbeResult> {
  if (signal.aborted) return Promise.resolve({ ok: false, reason: 'aborted' });
  return new Promise((resolve) => {
    const stream = dialer.dial(target, { timeoutMs: check.timeoutMs });
    let head = '';
    let done: boolean = false;
    const finish = (result: ProbeResult, close: 'end' | 'reset') => {
      if (done) return;
      done = true;
      timer.cancel();
      signal.removeEventListener('abort', abort);
      resolve(result);
      if (close === 'reset') stream.reset();
      else {
        stream.end();
        closing = clock.after(CLOSE_MS, () => stream.reset());
      }
    };
    let closing: ReturnType<Clock['after']> | undefined;
    const fail = (reason: string) => finish({ ok: false, reason }, 'reset');
    const abort = () => fail('aborted');
    const timer = clock.after(check.timeoutMs, () => fail(`no answer in ${check.timeoutMs} ms`));
    signal.addEventListener('abort', abort);
    stream.attach({
      opened: () => {
        if (check.kind === 'tcp') finish({ ok: true }, 'end');
      },
      data: (chunk) => {
        if (done) return;
        // Whoever sends has accepted.
        if (check.kind === 'tcp') return finish({ ok: true }, 'end');
        head += Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('latin1');
        const result = readStatus(head);
        if (result !== undefined) finish(result, 'reset');
      },
      ended: () => {
        if (check.kind === 'http') fail('the connection ended without an HTTP answer');
      },
      drained: () => undefined,
      closed: (error) => {
        closing?.cancel();
        fail(error === undefined ? 'closed' : reasonOf(error));
      },
    });
    if (check.kind === 'http') stream.write(request(check.path, check.host));
  });
}

const reasonOf = (error: unknown) => (error instanceof MeshError ? error.code : String(error));

function request(path: string, host: string): Uint8Array {
  const lines = [`GET ${path} HTTP/1.1`, `Host: ${host}`, 'User-Agent: edgemesh-health-check', 'Accept: */*'];
  return Buffer.from(`${lines.join('\r\n')}\r\nConnection: close\r\n\r\n`, 'latin1');
}

/** The verdict of what has come so far; undefined while the status line is not complete. */
function readStatus(head: string): ProbeResult | undefined {
  const end = head.indexOf('\n');
  if (end < 0 && head.length < MAX_HEAD_BYTES) return undefined;
  const status = /^HTTP\/1\.[01] (\d{3})(?:[ \r]|$)/.exec(end < 0 ? '' : head.slice(0, end))?.[1];
  if (status === undefined) return { ok: false, reason: 'the answer is not HTTP' };
  return Number(status) >= 200 && Number(status) < 400 ? { ok: true } : { ok: false, reason: `status ${status}` };
}
