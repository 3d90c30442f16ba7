import { LinuxError } from '../errors.ts';

/** bpf(2), and what it takes to use it. Failures throw LinuxError; what they say names the step. */
export interface Bpf {
  createMap(map: BpfMap): number;
  /** Sets all entries, keys and values one after the other. */
  update(fd: number, keys: Buffer, values: Buffer, count: number): void;
  /** Forgets entries; those that are not there are no error. */
  remove(fd: number, keys: Buffer, count: number): void;
  /** Loads a program for socket addresses. The kernel refuses what it cannot prove to be safe. */
  load(name: string, attachType: number, program: Buffer): number;
  /** Attaches a program to a group of processes for as long as the result, a file descriptor, is open. */
  attach(programFd: number, cgroupFd: number, attachType: number): number;
  close(fd: number): void;
  /** What the kernel calls the network namespace of this process. */
  netnsCookie(): bigint;
}

export interface BpfMap {
  readonly name: string;
  readonly kind: 'hash' | 'array' | 'socket-storage';
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly size: number;
}

/** Attach types of programs for socket addresses (linux/bpf.h). */
export const ATTACH = { connect4: 10, connect6: 11, getpeername4: 29, getpeername6: 30 } as const;

/** System call numbers: of their own on x86, the common ones elsewhere. */
const SYSCALL: Partial<Record<NodeJS.Architecture, number>> = { x64: 321, arm64: 280, riscv64: 280, loong64: 280 };
const COMMAND = { createMap: 0, load: 5, loadTypes: 18, update: 2, remove: 3, updateBatch: 26, attach: 28 } as const;
const MAP_KIND = { hash: 1, array: 2, 'socket-storage': 24 } as const;
const NO_PREALLOC = 1;
const PROGRAM_CGROUP_SOCK_ADDR = 18;
const LOG_BYTES = 64 * 1024;
const ATTR_BYTES = 144;
const [ENOENT, EPERM, EACCES] = [2, 1, 13];
/** Nothing that time mends: EINVAL, ENOSYS, ENOPROTOOPT, EOPNOTSUPP, ENOTSUPP (a processor whose compiler lacks an instruction). */
const UNSUPPORTED = new Set([22, 38, 92, 95, 524]);
const SOCKET = { inet: 2, stream: 1, cloexec: 0o2000000, level: 1, netnsCookie: 71 } as const;

/** Loads the calls through koffi, on first use only. Rejects with LinuxError `missing-tool` or `unsupported`. */
export async function loadBpf(): Promise<Bpf> {
  const number = SYSCALL[process.arch];
  if (number === undefined) throw new LinuxError('unsupported', `bpf(2) is not known on ${process.arch}`);
  const { default: koffi } = await import('koffi').catch((cause: unknown) => {
    throw new LinuxError('missing-tool', 'koffi cannot be loaded: there is no prebuilt binary for this platform', {
      cause,
    });
  });
  const libc = koffi.load(null);
  const syscall = libc.func('intptr_t syscall(intptr_t number, intptr_t command, void *attr, intptr_t size)');
  const closeFd = libc.func('int close(int fd)');
  const socket = libc.func('int socket(int domain, int type, int protocol)');
  const getsockopt = libc.func('int getsockopt(int fd, int level, int name, void *value, uint32_t *length)');

  const attributes = (fill: (attr: Buffer) => void) => {
    const attr = Buffer.alloc(ATTR_BYTES);
    fill(attr);
    return attr;
  };
  const fail = (what: string, errno: number, detail = ''): never => {
    const message = `${what}: errno ${errno}${detail === '' ? '' : `, ${detail}`}`;
    if (errno === EPERM) throw new LinuxError('not-permitted', `${message} (CAP_BPF, CAP_NET_ADMIN)`);
    // EACCES: the kernel does not take the program for safe.
    if (errno === EACCES || UNSUPPORTED.has(errno))
      throw new LinuxError('unsupported', `${message}: not with this kernel`);
    throw new LinuxError('failed', message);
  };
  const call = (command: number, attr: Buffer) => {
    const result = syscall(number, command, attr, attr.length) as number;
    return result < 0 ? -koffi.errno() : result;
  };
  const must = (what: string, command: number, attr: Buffer) => {
    const result = call(command, attr);
    return result < 0 ? fail(what, -result) : result;
  };
  const close = (fd: number) => void closeFd(fd);

  /** bpf(2) takes addresses within its arguments; only memory of our own stays where it is. */
  const lend = <T>(parts: readonly (Buffer | number)[], use: (places: readonly Place[]) => T): T => {
    const taken = parts.map((part): Place => {
      const length = typeof part === 'number' ? part : part.length;
      const memory = koffi.alloc('uint8_t', Math.max(1, length));
      const bytes = Buffer.from(koffi.view(memory, length));
      if (typeof part !== 'number') part.copy(bytes);
      return { memory, address: koffi.address(memory), bytes };
    });
    try {
      return use(taken);
    } finally {
      for (const { memory } of taken) koffi.free(memory);
    }
  };

  const loadTypes = () =>
    lend([TYPES], ([types]) => {
      const attr = attributes((a) => {
        a.writeBigUInt64LE((types as Place).address, 0);
        a.writeUInt32LE(TYPES.length, 16);
      });
      return must('load types', COMMAND.loadTypes, attr);
    });

  return {
    createMap({ name, kind, keyBytes, valueBytes, size }) {
      const types = kind === 'socket-storage' ? loadTypes() : undefined;
      try {
        const attr = attributes((a) => {
          const flags = kind === 'array' ? 0 : NO_PREALLOC;
          for (const [i, value] of [MAP_KIND[kind], keyBytes, valueBytes, size, flags].entries()) {
            a.writeUInt32LE(value, i * 4);
          }
          a.write(name, 28, 15, 'latin1');
          if (types === undefined) return;
          for (const [i, value] of [types, TYPE_IDS.key, TYPE_IDS.value].entries()) a.writeUInt32LE(value, 48 + i * 4);
        });
        return must(`create map ${name}`, COMMAND.createMap, attr);
      } finally {
        if (types !== undefined) close(types);
      }
    },
    update(fd, keys, values, count) {
      if (count === 0) return;
      lend([keys, values], ([key, value]) => {
        const attr = attributes((a) => {
          a.writeBigUInt64LE((key as Place).address, 16);
          a.writeBigUInt64LE((value as Place).address, 24);
          a.writeUInt32LE(count, 32);
          a.writeUInt32LE(fd, 36);
        });
        must(`set ${count} entries`, COMMAND.updateBatch, attr);
      });
    },
    remove(fd, keys, count) {
      const bytes = keys.length / Math.max(1, count);
      lend([keys], ([key]) => {
        for (let i = 0; i < count; i++) {
          const attr = attributes((a) => {
            a.writeUInt32LE(fd, 0);
            a.writeBigUInt64LE((key as Place).address + BigInt(i * bytes), 8);
          });
          const result = call(COMMAND.remove, attr);
          if (result < 0 && result !== -ENOENT) fail('remove an entry', -result);
        }
      });
    },
    load: (name, attachType, program) =>
      lend([program, Buffer.from('Apache-2.0\0'), LOG_BYTES], (places) => {
        const [code, license, log] = places as [Place, Place, Place];
        const attr = (withLog: boolean) =>
          attributes((a) => {
            a.writeUInt32LE(PROGRAM_CGROUP_SOCK_ADDR, 0);
            a.writeUInt32LE(program.length / 8, 4);
            a.writeBigUInt64LE(code.address, 8);
            a.writeBigUInt64LE(license.address, 16);
            a.write(name, 48, 15, 'latin1');
            a.writeUInt32LE(attachType, 68);
            if (!withLog) return;
            a.writeUInt32LE(1, 24);
            a.writeUInt32LE(LOG_BYTES, 28);
            a.writeBigUInt64LE(log.address, 32);
          });
        const fd = call(COMMAND.load, attr(false));
        if (fd >= 0) return fd;
        // once more, for what the kernel has to say
        const again = call(COMMAND.load, attr(true));
        if (again >= 0) return again;
        const said = log.bytes.toString('latin1').split('\0', 1)[0]?.trim().split('\n').slice(-2).join(' ');
        return fail(`load program ${name}`, -fd, said);
      }),
    attach(programFd, cgroupFd, attachType) {
      const attr = attributes((a) => {
        for (const [i, value] of [programFd, cgroupFd, attachType].entries()) a.writeUInt32LE(value, i * 4);
      });
      return must('attach a program', COMMAND.attach, attr);
    },
    close,
    netnsCookie() {
      const fd = socket(SOCKET.inet, SOCKET.stream | SOCKET.cloexec, 0) as number;
      if (fd < 0) return fail('open a socket', koffi.errno());
      try {
        const value = Buffer.alloc(8);
        const result = getsockopt(fd, SOCKET.level, SOCKET.netnsCookie, value, [value.length]) as number;
        if (result < 0) return fail('ask for the network namespace', koffi.errno());
        return value.readBigUInt64LE();
      } finally {
        close(fd);
      }
    },
  };
}

interface Place {
  readonly memory: unknown;
  readonly address: bigint;
  readonly bytes: Buffer;
}

/** Bytes of what is remembered of a socket: see `program.ts`. */
export const SOCKET_NOTE_BYTES = 40;

/**
 * The kernel wants to know the types of what it keeps with sockets, as BTF (Documentation/bpf/btf.rst): a 32-bit integer for the
 * key, and an array of them.
 */
const TYPE_IDS = { key: 1, value: 2 } as const;
const TYPES = (() => {
  const [KIND_INT, KIND_ARRAY] = [1, 3];
  const types = [0, KIND_INT << 24, 4, 32, 0, KIND_ARRAY << 24, 0, TYPE_IDS.key, TYPE_IDS.key, SOCKET_NOTE_BYTES / 4];
  types[0] = 1; // the name at offset 1 of the strings
  const names = Buffer.from('\0int\0');
  const header = Buffer.alloc(24);
  header.writeUInt16LE(0xeb9f, 0);
  header.writeUInt8(1, 2);
  for (const [i, value] of [header.length, 0, types.length * 4, types.length * 4, names.length].entries()) {
    header.writeUInt32LE(value, 4 + i * 4);
  }
  return Buffer.concat([header, Buffer.from(Uint32Array.from(types).buffer), names]);
})();
