import { closeSync, constants, openSync } from 'node:fs';
import { messageOf } from '@edgemesh/core';
import { LinuxError } from '../errors.ts';
import { ATTACH, type Bpf, SOCKET_NOTE_BYTES } from './bpf.ts';
import type { ProcessGroups } from './cgroup.ts';
import {
  connectProgram,
  FRONTEND_BYTES,
  GATE_BYTES,
  PLACE_BYTES,
  type ProgramMaps,
  peerNameProgram,
  SLOT_KEY_BYTES,
} from './program.ts';

export interface AttachmentSize {
  readonly frontends: number;
  readonly slots: number;
}

/** Maps of some size, and the programs that look into them, attached. Everything goes with this process, however it ends. */
export interface Attachment extends Disposable {
  readonly size: AttachmentSize;
  readonly maps: ProgramMaps;
  /** Starts to serve; what the maps hold at this moment should be complete. */
  attach(): void;
  /** Serves until this time of CLOCK_MONOTONIC, in nanoseconds. */
  serveUntil(time: bigint): void;
}

/** What sockets keep of what they wanted: one map for all attachments, as sockets live longer than those. */
export const createNotes = (bpf: Bpf): number =>
  bpf.createMap({
    name: 'edgemesh_notes',
    kind: 'socket-storage',
    keyBytes: 4,
    valueBytes: SOCKET_NOTE_BYTES,
    size: 0,
  });

/** Makes maps and loads the programs. Failures throw LinuxError and leave nothing. */
export function createAttachment(bpf: Bpf, groups: ProcessGroups, notes: number, size: AttachmentSize): Attachment {
  const fds: number[] = [];
  const keep = (fd: number) => {
    fds.push(fd);
    return fd;
  };
  const dispose = () => {
    for (const fd of fds.splice(0).reverse()) bpf.close(fd);
  };
  const hash = (name: string, keyBytes: number, valueBytes: number, entries: number) =>
    keep(bpf.createMap({ name, kind: 'hash', keyBytes, valueBytes, size: entries }));
  try {
    const netns = bpf.netnsCookie();
    const maps: ProgramMaps = {
      gate: keep(bpf.createMap({ name: 'edgemesh_gate', kind: 'array', keyBytes: 4, valueBytes: GATE_BYTES, size: 1 })),
      frontends: hash('edgemesh_svc', PLACE_BYTES, FRONTEND_BYTES, size.frontends),
      slots: hash('edgemesh_slots', SLOT_KEY_BYTES, PLACE_BYTES, size.slots),
      notes,
    };
    const programs = [
      { path: groups.all, type: ATTACH.connect4, code: connectProgram(4, maps, false) },
      { path: groups.all, type: ATTACH.connect6, code: connectProgram(6, maps, false) },
      { path: groups.all, type: ATTACH.getpeername4, code: peerNameProgram(4, maps) },
      { path: groups.all, type: ATTACH.getpeername6, code: peerNameProgram(6, maps) },
      ...(groups.pods === undefined
        ? []
        : [
            { path: groups.pods.path, type: ATTACH.connect4, code: connectProgram(4, maps, true) },
            { path: groups.pods.path, type: ATTACH.connect6, code: connectProgram(6, maps, true) },
          ]),
    ].map((program) => ({ ...program, fd: keep(bpf.load('edgemesh', program.type, program.code)) }));
    return {
      size,
      maps,
      attach() {
        for (const { path, type, fd } of programs) {
          const group = openGroup(path);
          try {
            keep(bpf.attach(fd, group, type));
          } finally {
            closeSync(group);
          }
        }
      },
      serveUntil(time) {
        const gate = Buffer.alloc(GATE_BYTES);
        gate.writeBigUInt64LE(time, 0);
        gate.writeBigUInt64LE(netns, 8);
        bpf.update(maps.gate, Buffer.alloc(4), gate, 1);
      },
      [Symbol.dispose]: dispose,
    };
  } catch (error) {
    dispose();
    throw error;
  }
}

function openGroup(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    throw new LinuxError('failed', `cannot open the group of processes ${path}: ${messageOf(cause)}`, { cause });
  }
}
