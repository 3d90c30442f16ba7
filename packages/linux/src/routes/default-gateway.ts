import { readFile } from 'node:fs/promises';

const RTF_UP = 1;
const RTF_GATEWAY = 2;

/** The IPv4 router of this machine, by the default route of the lowest metric; undefined where there is none, or no Linux. */
export async function readDefaultGateway(file = '/proc/net/route'): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch {
    return undefined; // no Linux, or /proc is hidden
  }
  const routes = text.split('\n').slice(1).flatMap(readLine);
  return routes.sort((a, b) => a.metric - b.metric)[0]?.gateway;
}

/** Interface, destination, gateway, flags, reference count, use, metric, mask; addresses in hex, in the order of the CPU. */
function readLine(line: string): { readonly gateway: string; readonly metric: number }[] {
  const [, destination, gateway = '', flags = '', , , metric, mask] = line.split('\t');
  const isDefault = destination === '00000000' && mask === '00000000';
  const isUsable = (Number.parseInt(flags, 16) & (RTF_UP | RTF_GATEWAY)) === (RTF_UP | RTF_GATEWAY);
  if (!isDefault || !isUsable || gateway.length !== 8) return [];
  const bytes = new Uint8Array(Uint32Array.of(Number.parseInt(gateway, 16)).buffer);
  return [{ gateway: bytes.join('.'), metric: Number(metric) }];
}
