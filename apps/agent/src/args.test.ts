import { describe, expect, it } from 'vitest';
import { DEFAULT_CONFIG_FILE, readArguments } from './args.ts';

describe('readArguments', () => {
  it.each([
    [[], { kind: 'run', configFile: DEFAULT_CONFIG_FILE, explicit: false }],
    [['--config-file', '/x.yaml'], { kind: 'run', configFile: '/x.yaml', explicit: true }],
    [['--config-file=/x.yaml'], { kind: 'run', configFile: '/x.yaml', explicit: true }],
    [['cleanup'], { kind: 'cleanup', configFile: DEFAULT_CONFIG_FILE, explicit: false }],
    [['cleanup', '--config-file', '/x'], { kind: 'cleanup', configFile: '/x', explicit: true }],
    [['--version'], { kind: 'print', what: 'version' }],
    [['--defaultconfig'], { kind: 'print', what: 'defaultconfig' }],
    [['--minconfig'], { kind: 'print', what: 'minconfig' }],
    [['-h'], { kind: 'print', what: 'help' }],
  ])('reads %j', (args, expected) => {
    expect(readArguments(args)).toEqual(expected);
  });

  it.each([[['start']], [['cleanup', 'now']], [['--config-file']], [['--unknown']]])('calls %j wrong', (args) => {
    expect(readArguments(args).kind).toBe('wrong');
  });
});
