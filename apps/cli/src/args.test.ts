import { describe, expect, it } from 'vitest';
import { DEFAULT_ADMIN, readArguments } from './args.ts';

describe('the command line', () => {
  it('reads each command with its options', () => {
    const common = { admin: DEFAULT_ADMIN, json: false };
    expect(readArguments(['status'])).toEqual({ kind: 'status', ...common });
    expect(readArguments(['why', 'hello', '-n', 'shop'])).toMatchObject({ service: 'hello', namespace: 'shop' });
    expect(readArguments(['ping', 'edge-b', '-c', '2', '--json'])).toMatchObject({
      node: 'edge-b',
      count: 2,
      json: true,
    });
    expect(readArguments(['doctor', '--admin', '127.0.0.1:99'])).toMatchObject({ admin: 'http://127.0.0.1:99' });
    expect(readArguments(['status'], 'http://[::1]:5/')).toMatchObject({ admin: 'http://[::1]:5' });
    for (const args of [[], ['--help'], ['help']]) expect(readArguments(args).kind).toBe('help');
  });

  it.each([
    [['stat'], /unknown command: stat/],
    [['status', 'x'], /takes no argument/],
    [['why'], /one SERVICE/],
    [['ping'], /one NODE/],
    [['ping', 'b', '-c', '0'], /-c 0/],
    [['status', '--admin', 'http://'], /--admin/],
    [['status', '--nope'], /nope/],
  ])('%j is wrong, and says why', (args, message) => {
    const command = readArguments(args);
    expect(command).toMatchObject({ kind: 'wrong', message: expect.stringMatching(message) });
  });
});
