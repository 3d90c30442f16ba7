/**
 * eBPF instructions as far as our programs need them (kernel: Documentation/bpf/standardization/instruction-set.rst). A
 * compiler would be a dependency of the build for 60 instructions, and a loader for its object files one of the agent.
 */
export interface Assembler {
  /** dst = src */
  move(dst: Register, src: Register): void;
  moveNumber(dst: Register, value: number): void;
  addNumber(dst: Register, value: number): void;
  /** dst %= src, as 32 bits without sign; a modulus of 0 leaves dst as it is. */
  modulo(dst: Register, src: Register): void;
  /** dst = the map, as helpers take it. */
  map(dst: Register, fd: number): void;
  /** dst = *(size *)(src + offset) */
  load(size: Size, dst: Register, src: Register, offset: number): void;
  /** *(size *)(dst + offset) = src */
  store(size: Size, dst: Register, offset: number, src: Register): void;
  /** *(u32 *)(dst + offset) = value */
  storeNumber(dst: Register, offset: number, value: number): void;
  /** *(u32 *)(dst + offset) += src, atomic. Without the old value, which arm64 gives since 5.18 only. */
  add(dst: Register, offset: number, src: Register): void;
  call(helper: number): void;
  /** To the label when the register is (is not, is more than, unsigned) the number or other register. */
  jump(label: string): void;
  jumpIf(register: Register, is: Comparison, other: number | { readonly register: Register }, label: string): void;
  label(name: string): void;
  exit(): void;
  /** The program. Throws when a label is missing. */
  assemble(): Buffer;
}

/** r0: results; r1 to r5: arguments, lost by a call; r6 to r9 are kept; r10: end of the stack. */
export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;
/** Bytes. */
export type Size = 2 | 4 | 8;
export type Comparison = '==' | '!=' | '>';

const LOAD = { 2: 0x69, 4: 0x61, 8: 0x79 } as const;
const STORE = { 2: 0x6b, 4: 0x63, 8: 0x7b } as const;
const JUMP = { '==': 0x15, '!=': 0x55, '>': 0x25 } as const;
/** Added to the code of a jump: the other operand is a register. */
const WITH_REGISTER = 0x08;
const JUMP_ALWAYS = 0x05;
const PSEUDO_MAP_FD = 1;
const BYTES = 8;

interface Instruction {
  readonly code: number;
  readonly dst?: number;
  readonly src?: number;
  readonly offset?: number;
  readonly value?: number;
  readonly label?: string;
}

/** An empty program, for little-endian machines. */
export function createAssembler(): Assembler {
  const list: Instruction[] = [];
  const labels = new Map<string, number>();
  const add = (instruction: Instruction) => void list.push(instruction);
  return {
    move: (dst, src) => add({ code: 0xbf, dst, src }),
    moveNumber: (dst, value) => add({ code: 0xb7, dst, value }),
    addNumber: (dst, value) => add({ code: 0x07, dst, value }),
    modulo: (dst, src) => add({ code: 0x9c, dst, src }),
    map(dst, fd) {
      add({ code: 0x18, dst, src: PSEUDO_MAP_FD, value: fd });
      add({ code: 0 });
    },
    load: (size, dst, src, offset) => add({ code: LOAD[size], dst, src, offset }),
    store: (size, dst, offset, src) => add({ code: STORE[size], dst, offset, src }),
    storeNumber: (dst, offset, value) => add({ code: 0x62, dst, offset, value }),
    add: (dst, offset, src) => add({ code: 0xc3, dst, src, offset }),
    call: (helper) => add({ code: 0x85, value: helper }),
    jump: (label) => add({ code: JUMP_ALWAYS, label }),
    jumpIf(register, is, other, label) {
      if (typeof other === 'number') add({ code: JUMP[is], dst: register, value: other, label });
      else add({ code: JUMP[is] + WITH_REGISTER, dst: register, src: other.register, label });
    },
    label: (name) => void labels.set(name, list.length),
    exit: () => add({ code: 0x95 }),
    assemble() {
      const program = Buffer.alloc(list.length * BYTES);
      for (const [i, { code, dst = 0, src = 0, offset = 0, value = 0, label }] of list.entries()) {
        program.writeUInt8(code, i * BYTES);
        program.writeUInt8(dst | (src << 4), i * BYTES + 1);
        program.writeInt16LE(label === undefined ? offset : distance(label, i), i * BYTES + 2);
        program.writeInt32LE(value, i * BYTES + 4);
      }
      return program;
    },
  };

  function distance(label: string, from: number): number {
    const to = labels.get(label);
    if (to === undefined) throw new Error(`no label ${label}`);
    return to - from - 1;
  }
}
