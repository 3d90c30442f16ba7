import { readFile, rename, writeFile } from 'node:fs/promises';
import { detach, type Logger, messageOf, parseCidr } from '@edgemesh/core';
import type { AgentContext } from '../context.ts';
import { isOurs } from '../modules/proxy.ts';
import type { Reachability } from '../reachability.ts';
import { type AddressPool, createAddressPool } from './address-pool.ts';
import { createVirtualServices, type VirtualServices } from './virtual-services.ts';

/** Pods of headless Services with an address of this node at once. Each of their ports costs a listening socket. */
const MAX_VIRTUAL_ADDRESSES = 1_024;
/** Assignments remembered, of pods that are gone too: 100 bytes each. */
const MAX_REMEMBERED = 8_192;
/** Changes are written together after this time, in milliseconds. */
const WRITE_DELAY_MS = 1_000;

/** Reads what was assigned before, and starts. Without kernel rules, tunnel or proxy nothing could serve such an address. */
export async function startVirtualServices(
  context: AgentContext,
  kernelMode: boolean,
  reachability: Reachability,
): Promise<VirtualServices & AsyncDisposable> {
  const { config, view, log } = context;
  const { edgeProxy, edgeTunnel } = config.modules;
  const range = parseCidr(edgeProxy.virtualAddresses.cidr);
  const isOn = kernelMode && edgeProxy.enable && edgeTunnel.enable && edgeProxy.virtualAddresses.enable;
  const usable = range !== undefined && range.bytes.length === 4 && range.prefix <= 30;
  if (isOn && !usable)
    log.error('virtualAddresses.cidr must be an IPv4 range of at least 4 addresses', {
      range: edgeProxy.virtualAddresses.cidr,
    });
  const file = `${config.commonConfig.dataDir}/virtual-addresses.json`;
  const pool =
    isOn && usable
      ? createAddressPool({
          range,
          maxUsed: MAX_VIRTUAL_ADDRESSES,
          maxKept: MAX_REMEMBERED,
          initial: await readAssignments(file, log),
        })
      : undefined;
  const writer = pool && createWriter(file, pool, log);
  const services = createVirtualServices({
    view,
    pool,
    include: isOurs(config),
    needsTunnel: (endpoint) => !reachability.isRoutable(endpoint),
    ...(writer && { changed: writer.schedule }),
  });
  const unsubscribe = reachability.onChange(() => services.recompute());
  return Object.assign(services, {
    async [Symbol.asyncDispose]() {
      unsubscribe();
      services[Symbol.dispose]();
      await writer?.flush();
    },
  });
}

async function readAssignments(file: string, log: Logger): Promise<[string, string][]> {
  try {
    const value: unknown = JSON.parse(await readFile(file, 'utf8'));
    if (!Array.isArray(value)) return [];
    return value.filter(
      (entry): entry is [string, string] =>
        Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'string',
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      log.warn('virtual addresses of the last run cannot be read', { file, error: messageOf(error) });
    return [];
  }
}

function createWriter(file: string, pool: AddressPool, log: Logger) {
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();
  const write = async () => {
    const text = JSON.stringify(pool.entries());
    await writeFile(`${file}.tmp`, text);
    await rename(`${file}.tmp`, file);
  };
  const flush = () => {
    if (timer === undefined) return writing;
    clearTimeout(timer);
    timer = undefined;
    writing = writing
      .then(write)
      .catch((error: unknown) => log.warn('virtual addresses cannot be saved', { file, error: messageOf(error) }));
    return writing;
  };
  return {
    schedule() {
      timer ??= setTimeout(() => detach('save virtual addresses', log, flush()), WRITE_DELAY_MS).unref();
    },
    flush,
  };
}
