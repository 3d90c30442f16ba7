import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ipVersion, silentLogger, systemClock } from '@edgemesh/core';
import { createRecordingLogger } from '@edgemesh/testkit';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { followResolvConf, parseResolvConf } from './resolv-conf.ts';

describe('parseResolvConf', () => {
  it('takes any text: what it calls a nameserver is an address, each once', () => {
    const word = fc.oneof(
      fc.string(),
      fc.constantFrom('nameserver', 'search', '10.0.0.1', 'fe80::1%eth0', '#', '\n', ' '),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 30 }), (words) => {
        const { nameservers } = parseResolvConf(words.join(' '));
        for (const each of nameservers) expect(ipVersion(each.replace(/%.*$/, ''))).not.toBe(0);
        expect(new Set(nameservers).size).toBe(nameservers.length);
      }),
    );
  });

  it('takes nameservers once, in order, and the last search list', () => {
    const text = [
      '# comment',
      'nameserver 10.0.0.1 # the first',
      'nameserver\t10.0.0.2',
      ' nameserver fe80::1%eth0',
      'nameserver 10.0.0.1',
      'nameserver bogus',
      'nameserver',
      'domain old.test',
      'search a.test b.test ; comment',
      'options ndots:5',
    ].join('\n');
    expect(parseResolvConf(text)).toEqual({
      nameservers: ['10.0.0.1', '10.0.0.2', 'fe80::1%eth0'],
      search: ['a.test', 'b.test'],
    });
    expect(parseResolvConf('')).toEqual({ nameservers: [], search: [] });
  });
});

describe('followResolvConf', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'edgemesh-dns-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** Follows with a poll so rare that only the watch can notice, unless told otherwise. */
  async function follow(path: string, pollMs = 3_600_000) {
    const lists: (readonly string[])[] = [];
    let wake: () => void = () => undefined;
    const followed = await followResolvConf({
      path,
      systemdPath: join(folder, 'systemd.conf'),
      pollMs,
      clock: systemClock,
      log: silentLogger,
      onChange: (list) => {
        lists.push(list);
        wake();
      },
    });
    return {
      lists,
      followed,
      async next(count: number) {
        while (lists.length < count) await new Promise<void>((resolve) => (wake = resolve));
        return lists[count - 1];
      },
      [Symbol.dispose]: () => followed[Symbol.dispose](),
    };
  }

  it('notices a write, a rename over the file, and its removal and return', async () => {
    const path = join(folder, 'resolv.conf');
    await writeFile(path, 'nameserver 10.0.0.1\n');
    using t = await follow(path);
    expect(await t.next(1)).toEqual(['10.0.0.1']);
    await writeFile(path, 'nameserver 10.0.0.2\n');
    expect(await t.next(2)).toEqual(['10.0.0.2']);
    await writeFile(`${path}.new`, 'nameserver 10.0.0.3\n');
    await rename(`${path}.new`, path);
    expect(await t.next(3)).toEqual(['10.0.0.3']);
    await rm(path);
    await writeFile(path, 'nameserver 10.0.0.4\n');
    expect(await t.next(4)).toEqual(['10.0.0.4']);
  });

  it('notices a swapped symlink and a write behind it', async () => {
    for (const n of [1, 2]) {
      await mkdir(join(folder, `d${n}`));
      await writeFile(join(folder, `d${n}`, 'conf'), `nameserver 10.0.0.${n}\n`);
    }
    const path = join(folder, 'resolv.conf');
    await symlink('d1/conf', path);
    using t = await follow(path);
    expect(await t.next(1)).toEqual(['10.0.0.1']);
    await symlink('d2/conf', `${path}.new`);
    await rename(`${path}.new`, path);
    expect(await t.next(2)).toEqual(['10.0.0.2']);
    await writeFile(join(folder, 'd2', 'conf'), 'nameserver 10.0.0.9\n');
    expect(await t.next(3)).toEqual(['10.0.0.9']);
  });

  it('puts the real upstreams in place of systemd-resolved’s stub, and follows those', async () => {
    const path = join(folder, 'resolv.conf');
    await writeFile(path, 'nameserver 127.0.0.53\n');
    await writeFile(join(folder, 'systemd.conf'), 'nameserver 192.168.1.1\n');
    using t = await follow(path);
    expect(await t.next(1)).toEqual(['192.168.1.1']);
    await writeFile(join(folder, 'systemd.conf'), 'nameserver 192.168.2.1\n');
    expect(await t.next(2)).toEqual(['192.168.2.1']);
  });

  it('keeps the last list while the file is missing or names nobody, and says so', async () => {
    const path = join(folder, 'resolv.conf');
    using t = await follow(path, 20);
    expect(t.lists).toEqual([]);
    expect(t.followed.error).toContain('ENOENT');
    await writeFile(path, 'nameserver 10.0.0.1\n');
    await t.next(1);
    await writeFile(path, '# nobody\n');
    while (t.followed.error === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(t.followed.error).toBe('no nameserver line');
    expect(t.lists).toEqual([['10.0.0.1']]);
  });

  it('polls where no watch can tell', async () => {
    const path = join(folder, 'later', 'resolv.conf');
    const log = createRecordingLogger();
    let found: readonly string[] = [];
    using _followed = await followResolvConf({
      path,
      systemdPath: '',
      pollMs: 10,
      clock: systemClock,
      log,
      onChange: (list) => {
        found = list;
      },
    });
    await mkdir(join(folder, 'later'));
    await writeFile(path, 'nameserver 10.0.0.7\n');
    while (found.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(found).toEqual(['10.0.0.7']);
    expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
  });
});
