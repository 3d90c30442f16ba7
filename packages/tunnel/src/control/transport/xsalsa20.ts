/** "expand 32-byte k", the constant of Salsa20 with 256-bit keys. */
const SIGMA = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;

/**
 * The XSalsa20 stream cipher (Bernstein, "Extending the Salsa20 nonce") that libp2p private networks use. State is a few
 * hundred bytes on the heap: the WebAssembly package keeps its states in one memory that grows with every connection.
 */
export interface XSalsa20 {
  /** Encrypts or decrypts the next bytes of the stream into a new array. */
  update(input: Uint8Array): Uint8Array;
}

/** `nonce` has 24 bytes, `key` 32. */
export function createXSalsa20(nonce: Uint8Array, key: Uint8Array): XSalsa20 {
  const outer = new Uint32Array(16);
  fillState(outer, words(key), words(nonce.subarray(0, 16)));
  const mixed = new Uint32Array(16);
  doubleRounds(outer, mixed);
  const subkey = Uint32Array.from([0, 5, 10, 15, 6, 7, 8, 9], (i) => mixed[i] as number);
  const state = new Uint32Array(16);
  fillState(state, subkey, Uint32Array.of(...words(nonce.subarray(16, 24)), 0, 0));
  return new Keystream(state);
}

class Keystream implements XSalsa20 {
  readonly #state: Uint32Array;
  readonly #words = new Uint32Array(16);
  readonly #block = new Uint8Array(64);
  #used = 64;

  constructor(state: Uint32Array) {
    this.#state = state;
  }

  update(input: Uint8Array): Uint8Array {
    const output = new Uint8Array(input.length);
    const block = this.#block;
    let used = this.#used;
    for (let i = 0; i < input.length; i++) {
      if (used === 64) {
        this.#nextBlock();
        used = 0;
      }
      output[i] = (input[i] as number) ^ (block[used++] as number);
    }
    this.#used = used;
    return output;
  }

  #nextBlock(): void {
    const state = this.#state;
    doubleRounds(state, this.#words);
    for (let i = 0; i < 16; i++) {
      const word = (this.#words[i] as number) + (state[i] as number);
      this.#block[i * 4] = word;
      this.#block[i * 4 + 1] = word >>> 8;
      this.#block[i * 4 + 2] = word >>> 16;
      this.#block[i * 4 + 3] = word >>> 24;
    }
    state[8] = (state[8] as number) + 1;
    if (state[8] === 0) state[9] = (state[9] as number) + 1;
  }
}

function words(bytes: Uint8Array): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Uint32Array.from({ length: bytes.length >> 2 }, (_, i) => view.getUint32(i * 4, true));
}

/** The 4 x 4 matrix: constants on the diagonal, key around them, `input` (nonce and counter) in the middle. */
function fillState(state: Uint32Array, key: Uint32Array, input: Uint32Array): void {
  for (let i = 0; i < 4; i++) {
    state[i * 5] = SIGMA[i] as number;
    state[i + 1] = key[i] as number;
    state[i + 11] = key[i + 4] as number;
    state[i + 6] = input[i] as number;
  }
}

/** Ten double rounds: columns, then rows. */
function doubleRounds(from: Uint32Array, x: Uint32Array): void {
  x.set(from);
  for (let round = 0; round < 10; round++) {
    quarter(x, 0, 4, 8, 12);
    quarter(x, 5, 9, 13, 1);
    quarter(x, 10, 14, 2, 6);
    quarter(x, 15, 3, 7, 11);
    quarter(x, 0, 1, 2, 3);
    quarter(x, 5, 6, 7, 4);
    quarter(x, 10, 11, 8, 9);
    quarter(x, 15, 12, 13, 14);
  }
}

function quarter(x: Uint32Array, a: number, b: number, c: number, d: number): void {
  x[b] = (x[b] as number) ^ rotate((x[a] as number) + (x[d] as number), 7);
  x[c] = (x[c] as number) ^ rotate((x[b] as number) + (x[a] as number), 9);
  x[d] = (x[d] as number) ^ rotate((x[c] as number) + (x[b] as number), 13);
  x[a] = (x[a] as number) ^ rotate((x[d] as number) + (x[c] as number), 18);
}

function rotate(value: number, by: number): number {
  return (value << by) | ((value | 0) >>> (32 - by));
}
