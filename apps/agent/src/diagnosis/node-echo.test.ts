import { type ByteSink, type ByteStream, type DialTarget, MeshError } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import { describe, expect, it } from 'vitest';
import { createEcho, isEcho, pingNode } from './node-echo.ts';

function tunnelTo(answer: (target: DialTarget) => ByteStream) {
  return {
    dial: answer,
    openDatagrams: () => {
      throw new TypeError('no datagrams here');
    },
    pathTo: () => 'direct' as const,
  };
}

const silent: ByteStream = {
  attach: () => undefined,
  write: () => true,
  end: () => undefined,
  reset: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
};

describe('a ping', () => {
  it('goes to the echo of the node that is named, and tells the path', async () => {
    const targets: DialTarget[] = [];
    const tunnel = tunnelTo((target) => {
      targets.push(target);
      return createEcho();
    });
    const answer = await pingNode(tunnel, 'b', { timeoutMs: 1_000 });
    expect(answer).toMatchObject({ path: 'direct' });
    expect(answer.rttMs).toBeGreaterThanOrEqual(0);
    const [target] = targets;
    expect(target).toMatchObject({ nodeName: 'b' });
    expect(isEcho({ address: target?.address ?? '', port: target?.port ?? 0, kind: 'tcp' })).toBe(true);
    expect(isEcho({ address: target?.address ?? '', port: target?.port ?? 0, kind: 'udp' })).toBe(false);
    expect(isEcho({ address: '10.0.0.1', port: 7, kind: 'tcp' })).toBe(false);
  });

  it('fails with the error of the tunnel', async () => {
    const failing: ByteStream = {
      ...silent,
      attach: (sink) => sink.closed(new MeshError('unknown-node', 'node b is unknown')),
    };
    await expect(
      pingNode(
        tunnelTo(() => failing),
        'b',
        { timeoutMs: 1_000 },
      ),
    ).rejects.toMatchObject({
      code: 'unknown-node',
    });
  });

  it('gives up in time, and lets go of the stream', async () => {
    const clock = createFakeClock();
    let resetWith: MeshError | undefined;
    const deaf: ByteStream = { ...silent, reset: (error) => (resetWith = error) };
    const pinged = pingNode(
      tunnelTo(() => deaf),
      'b',
      { timeoutMs: 1_000, clock },
    );
    clock.advance(1_000);
    await expect(pinged).rejects.toMatchObject({ code: 'timeout' });
    expect(resetWith?.code).toBe('timeout');
  });
});

describe('the echo', () => {
  it('answers no more than a ping sends, whatever a peer sends', async () => {
    const echo = createEcho();
    const seen = { bytes: 0, code: '' };
    const sink: ByteSink = {
      data: (chunk) => (seen.bytes += chunk.length),
      ended: () => undefined,
      drained: () => undefined,
      closed: (error) => (seen.code = error?.code ?? 'none'),
    };
    echo.attach(sink);
    expect(echo.write(Buffer.alloc(20))).toBe(true);
    expect(echo.write(Buffer.alloc(20))).toBe(false);
    await new Promise(setImmediate);
    expect(seen.code).toBe('limit');
    expect(seen.bytes).toBeLessThanOrEqual(32);
  });
});
