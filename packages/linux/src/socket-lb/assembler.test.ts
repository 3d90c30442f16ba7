import { describe, expect, it } from 'vitest';
import { createAssembler } from './assembler.ts';

describe('the assembler', () => {
  it('writes instructions as the kernel reads them', () => {
    const asm = createAssembler();
    asm.map(1, 0x12345678);
    asm.load(4, 2, 6, 24);
    asm.store(8, 10, -8, 2);
    asm.add(7, 12, 1);
    asm.modulo(0, 8);
    asm.storeNumber(10, -56, 1);
    asm.moveNumber(4, -1);
    asm.addNumber(2, -40);
    asm.move(6, 1);
    asm.call(7);
    asm.exit();
    expect(asm.assemble().toString('hex').match(/.{16}/g)).toEqual([
      '1811000078563412', // r1 = map[...] needs two places
      '0000000000000000',
      '6162180000000000',
      '7b2af8ff00000000',
      'c3170c0000000000',
      '9c80000000000000',
      '620ac8ff01000000',
      'b7040000ffffffff',
      '07020000d8ffffff',
      'bf16000000000000',
      '8500000007000000',
      '9500000000000000',
    ]);
  });

  it('jumps both ways, counting from the instruction after', () => {
    const asm = createAssembler();
    asm.label('start');
    asm.jumpIf(1, '==', 5, 'end');
    asm.jumpIf(1, '>', { register: 2 }, 'start');
    asm.label('end');
    asm.exit();
    expect(asm.assemble().toString('hex').match(/.{16}/g)).toEqual([
      '1501010005000000',
      '2d21feff00000000',
      '9500000000000000',
    ]);
  });

  it('refuses a jump to nowhere', () => {
    const asm = createAssembler();
    asm.jump('end');
    expect(() => asm.assemble()).toThrow('no label end');
  });
});
