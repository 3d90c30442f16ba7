import { type Assembler, createAssembler, type Register } from './assembler.ts';
import { SOCKET_NOTE_BYTES } from './bpf.ts';

/** File descriptors of the maps that the programs look into. */
export interface ProgramMaps {
  /** One entry: see {@link encodeGate}. */
  readonly gate: number;
  /** Address and port of a Service to {@link FRONTEND_BYTES}. */
  readonly frontends: number;
  /** Number of a rule and of an endpoint to an address and port. */
  readonly slots: number;
  /** With each socket: where it wanted to go, and where it was sent. */
  readonly notes: number;
}

/** An address (IPv4 as ::ffff:a.b.c.d) and a port as the network writes it, and two bytes of nothing. */
export const PLACE_BYTES = 20;
/** Rule, number of endpoints, how to choose (0 at random, 1 in turn), turn: 32 bits each. */
export const FRONTEND_BYTES = 16;
/** Rule and number: 32 bits each. */
export const SLOT_KEY_BYTES = 8;
/** Until when (CLOCK_MONOTONIC, ns), and the network namespace: 64 bits each. */
export const GATE_BYTES = 16;

/** Fields of `struct bpf_sock_addr` (linux/bpf.h). */
const CTX = { ip4: 4, ip6: 8, port: 24, protocol: 36, sk: 64 } as const;
const HELPER = { lookup: 1, now: 5, random: 7, socketStorage: 107, netnsCookie: 122 } as const;
const TCP = 6;
const CREATE = 1;
const FRONTEND = { rule: 0, count: 4, mode: 8, turn: 12 } as const;
const GATE = { until: 0, netns: 8 } as const;
/** On the stack. A note is the wanted place and the one that was given instead. */
const STACK = { note: -SOCKET_NOTE_BYTES, given: -SOCKET_NOTE_BYTES + PLACE_BYTES, slot: -48, zero: -56 } as const;
const WORDS = [0, 4, 8, 12] as const;

/**
 * What a connect(2) runs through: where the address is a Service's, an endpoint's takes its place, and the connection is one to the
 * endpoint from its first packet on. Whatever is not found goes on as it was, to the rules of nftables.
 *
 * `anyNamespace`: for groups of processes that are pods; otherwise only processes in the node's network namespace are served.
 */
export function connectProgram(family: 4 | 6, maps: ProgramMaps, anyNamespace: boolean): Buffer {
  const asm = createAssembler();
  asm.move(6, 1);
  asm.load(4, 1, 6, CTX.protocol);
  asm.jumpIf(1, '!=', TCP, 'out');
  isOpen(asm, maps, anyNamespace);
  readPlace(asm, family, STACK.note);
  lookUp(asm, maps.frontends, STACK.note);
  asm.move(7, 0);
  asm.load(4, 8, 7, FRONTEND.count);
  asm.jumpIf(8, '==', 0, 'out');
  // r0 = which
  asm.load(4, 1, 7, FRONTEND.mode);
  asm.jumpIf(1, '==', 0, 'random');
  // Two at the same time may get the same turn.
  asm.moveNumber(1, 1);
  asm.add(7, FRONTEND.turn, 1);
  asm.load(4, 0, 7, FRONTEND.turn);
  asm.jump('chosen');
  asm.label('random');
  asm.call(HELPER.random);
  asm.label('chosen');
  asm.modulo(0, 8);
  asm.load(4, 1, 7, FRONTEND.rule);
  asm.store(4, 10, STACK.slot, 1);
  asm.store(4, 10, STACK.slot + 4, 0);
  lookUp(asm, maps.slots, STACK.slot);
  asm.move(7, 0);
  for (const word of [...WORDS, 16]) {
    asm.load(4, 1, 7, word);
    asm.store(4, 10, STACK.given + word, 1);
  }
  // The kernel may give the memory of a frontend that is being replaced to another at once: rule and number must have been of this one.
  lookUp(asm, maps.frontends, STACK.note);
  asm.load(4, 1, 0, FRONTEND.rule);
  asm.load(4, 2, 10, STACK.slot);
  asm.jumpIf(1, '!=', { register: 2 }, 'out');
  note(asm, maps.notes);
  writePlace(asm, family, STACK.given);
  finish(asm);
  return asm.assemble();
}

/** getpeername(2) of a connection that was sent elsewhere tells the Service, as it would with address translation. */
export function peerNameProgram(family: 4 | 6, maps: ProgramMaps): Buffer {
  const asm = createAssembler();
  asm.move(6, 1);
  asm.load(4, 1, 6, CTX.protocol);
  asm.jumpIf(1, '!=', TCP, 'out');
  asm.map(1, maps.notes);
  asm.load(8, 2, 6, CTX.sk);
  asm.moveNumber(3, 0);
  asm.moveNumber(4, 0);
  asm.call(HELPER.socketStorage);
  asm.jumpIf(0, '==', 0, 'out');
  asm.move(7, 0);
  // The note may be of an earlier connect of the same socket.
  readPlace(asm, family, STACK.note);
  for (const word of [...WORDS, 16]) {
    asm.load(4, 1, 10, STACK.note + word);
    asm.load(4, 2, 7, PLACE_BYTES + word);
    asm.jumpIf(1, '!=', { register: 2 }, 'out');
  }
  for (const word of [...WORDS, 16]) {
    asm.load(4, 1, 7, word);
    asm.store(4, 10, STACK.note + word, 1);
  }
  writePlace(asm, family, STACK.note);
  finish(asm);
  return asm.assemble();
}

/** Out unless the agent lives, and the process is where we serve. */
function isOpen(asm: Assembler, maps: ProgramMaps, anyNamespace: boolean): void {
  asm.storeNumber(10, STACK.zero, 0);
  lookUp(asm, maps.gate, STACK.zero);
  asm.move(7, 0);
  asm.call(HELPER.now);
  asm.load(8, 1, 7, GATE.until);
  asm.jumpIf(0, '>', { register: 1 }, 'out');
  if (anyNamespace) return;
  asm.move(1, 6);
  asm.call(HELPER.netnsCookie);
  asm.load(8, 1, 7, GATE.netns);
  asm.jumpIf(0, '!=', { register: 1 }, 'out');
}

/** r0 = the value; out when there is none. */
function lookUp(asm: Assembler, map: number, keyAt: number): void {
  asm.map(1, map);
  asm.move(2, 10);
  asm.addNumber(2, keyAt);
  asm.call(HELPER.lookup);
  asm.jumpIf(0, '==', 0, 'out');
}

/** The address and port that the program is about, onto the stack. */
function readPlace(asm: Assembler, family: 4 | 6, at: number): void {
  if (family === 4) {
    asm.storeNumber(10, at, 0);
    asm.storeNumber(10, at + 4, 0);
    asm.storeNumber(10, at + 8, MAPPED);
    copyFromContext(asm, CTX.ip4, at + 12);
  } else for (const word of WORDS) copyFromContext(asm, CTX.ip6 + word, at + word);
  copyFromContext(asm, CTX.port, at + 16);
}

/** ::ffff:0:0/96, its third word. */
const MAPPED = Buffer.from([0, 0, 0xff, 0xff]).readInt32LE();

function copyFromContext(asm: Assembler, field: number, at: number): void {
  asm.load(4, 1, 6, field);
  asm.store(4, 10, at, 1);
}

function writePlace(asm: Assembler, family: 4 | 6, at: number): void {
  const words = family === 4 ? [[12, CTX.ip4] as const] : WORDS.map((word) => [word, CTX.ip6 + word] as const);
  for (const [word, field] of [...words, [16, CTX.port] as const]) {
    asm.load(4, 1, 10, at + word);
    asm.store(4, 6, field, 1);
  }
}

/** Remembers with the socket what {@link peerNameProgram} tells. Where there is no memory for it the connection goes on. */
function note(asm: Assembler, notes: number): void {
  asm.map(1, notes);
  asm.load(8, 2, 6, CTX.sk);
  asm.move(3, 10);
  asm.addNumber(3, STACK.note);
  asm.moveNumber(4, CREATE);
  asm.call(HELPER.socketStorage);
  asm.jumpIf(0, '==', 0, 'noted');
  // Made by this call or by an earlier connect of this socket.
  const from: Register = 10;
  for (let word = 0; word < SOCKET_NOTE_BYTES; word += 4) {
    asm.load(4, 1, from, STACK.note + word);
    asm.store(4, 0, word, 1);
  }
  asm.label('noted');
}

/** 1: the call goes on. */
function finish(asm: Assembler): void {
  asm.label('out');
  asm.moveNumber(0, 1);
  asm.exit();
}
