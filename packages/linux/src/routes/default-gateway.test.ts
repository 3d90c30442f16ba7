import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { endianness, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readDefaultGateway } from './default-gateway.ts';

const HEADER = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n';
const line = (gateway: string, metric: number, flags = '0003') =>
  `eth0\t00000000\t${gateway}\t${flags}\t0\t0\t${metric}\t00000000\t0\t0\t0\n`;

describe('the default gateway', () => {
  it.skipIf(endianness() === 'BE')('is that of the best usable default route', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'route-'));
    const file = join(folder, 'route');
    const read = async (text: string) => {
      await writeFile(file, HEADER + text);
      return readDefaultGateway(file);
    };
    const local = 'eth0\t0000150A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n';
    expect(await read(local)).toBeUndefined();
    expect(await read(local + line('0200150A', 600) + line('0100150A', 100))).toBe('10.21.0.1');
    expect(await read(line('0100150A', 100, '0002'))).toBeUndefined();
    expect(await readDefaultGateway(join(folder, 'missing'))).toBeUndefined();
    await rm(folder, { recursive: true });
  });
});
