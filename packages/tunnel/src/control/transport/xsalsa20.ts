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
  const outer = new Int32Array(16);
  fillState(outer, words(key), words(nonce.subarray(0, 16)));
  const mixed = new Int32Array(16);
  doubleRounds(outer, mixed);
  const subkey = Int32Array.from([0, 5, 10, 15, 6, 7, 8, 9], (i) => mixed[i] as number);
  const state = new Int32Array(16);
  fillState(state, subkey, Int32Array.of(...words(nonce.subarray(16, 24)), 0, 0));
  return new Keystream(state);
}

class Keystream implements XSalsa20 {
  readonly #state: Int32Array;
  /** One block of key stream; all platforms of Node are little-endian, as the cipher is. */
  readonly #words = new Int32Array(16);
  readonly #block = new Uint8Array(this.#words.buffer);
  #used = 64;

  constructor(state: Int32Array) {
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
    const words = this.#words;
    doubleRounds(state, words);
    for (let i = 0; i < 16; i++) words[i] = ((words[i] as number) + (state[i] as number)) | 0;
    state[8] = ((state[8] as number) + 1) | 0;
    if (state[8] === 0) state[9] = ((state[9] as number) + 1) | 0;
  }
}

function words(bytes: Uint8Array): Int32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Int32Array.from({ length: bytes.length >> 2 }, (_, i) => view.getInt32(i * 4, true));
}

/** The 4 x 4 matrix: constants on the diagonal, key around them, `input` (nonce and counter) in the middle. */
function fillState(state: Int32Array, key: Int32Array, input: Int32Array): void {
  for (let i = 0; i < 4; i++) {
    state[i * 5] = SIGMA[i] as number;
    state[i + 1] = key[i] as number;
    state[i + 11] = key[i + 4] as number;
    state[i + 6] = input[i] as number;
  }
}

/** Ten double rounds, columns then rows. Unrolled over locals: three times as fast as over the array. */
function doubleRounds(from: Int32Array, to: Int32Array): void {
  let x0 = from[0] as number;
  let x1 = from[1] as number;
  let x2 = from[2] as number;
  let x3 = from[3] as number;
  let x4 = from[4] as number;
  let x5 = from[5] as number;
  let x6 = from[6] as number;
  let x7 = from[7] as number;
  let x8 = from[8] as number;
  let x9 = from[9] as number;
  let x10 = from[10] as number;
  let x11 = from[11] as number;
  let x12 = from[12] as number;
  let x13 = from[13] as number;
  let x14 = from[14] as number;
  let x15 = from[15] as number;
  let t = 0;
  for (let round = 0; round < 10; round++) {
    t = (x0 + x12) | 0;
    x4 ^= (t << 7) | (t >>> 25);
    t = (x4 + x0) | 0;
    x8 ^= (t << 9) | (t >>> 23);
    t = (x8 + x4) | 0;
    x12 ^= (t << 13) | (t >>> 19);
    t = (x12 + x8) | 0;
    x0 ^= (t << 18) | (t >>> 14);
    t = (x5 + x1) | 0;
    x9 ^= (t << 7) | (t >>> 25);
    t = (x9 + x5) | 0;
    x13 ^= (t << 9) | (t >>> 23);
    t = (x13 + x9) | 0;
    x1 ^= (t << 13) | (t >>> 19);
    t = (x1 + x13) | 0;
    x5 ^= (t << 18) | (t >>> 14);
    t = (x10 + x6) | 0;
    x14 ^= (t << 7) | (t >>> 25);
    t = (x14 + x10) | 0;
    x2 ^= (t << 9) | (t >>> 23);
    t = (x2 + x14) | 0;
    x6 ^= (t << 13) | (t >>> 19);
    t = (x6 + x2) | 0;
    x10 ^= (t << 18) | (t >>> 14);
    t = (x15 + x11) | 0;
    x3 ^= (t << 7) | (t >>> 25);
    t = (x3 + x15) | 0;
    x7 ^= (t << 9) | (t >>> 23);
    t = (x7 + x3) | 0;
    x11 ^= (t << 13) | (t >>> 19);
    t = (x11 + x7) | 0;
    x15 ^= (t << 18) | (t >>> 14);
    t = (x0 + x3) | 0;
    x1 ^= (t << 7) | (t >>> 25);
    t = (x1 + x0) | 0;
    x2 ^= (t << 9) | (t >>> 23);
    t = (x2 + x1) | 0;
    x3 ^= (t << 13) | (t >>> 19);
    t = (x3 + x2) | 0;
    x0 ^= (t << 18) | (t >>> 14);
    t = (x5 + x4) | 0;
    x6 ^= (t << 7) | (t >>> 25);
    t = (x6 + x5) | 0;
    x7 ^= (t << 9) | (t >>> 23);
    t = (x7 + x6) | 0;
    x4 ^= (t << 13) | (t >>> 19);
    t = (x4 + x7) | 0;
    x5 ^= (t << 18) | (t >>> 14);
    t = (x10 + x9) | 0;
    x11 ^= (t << 7) | (t >>> 25);
    t = (x11 + x10) | 0;
    x8 ^= (t << 9) | (t >>> 23);
    t = (x8 + x11) | 0;
    x9 ^= (t << 13) | (t >>> 19);
    t = (x9 + x8) | 0;
    x10 ^= (t << 18) | (t >>> 14);
    t = (x15 + x14) | 0;
    x12 ^= (t << 7) | (t >>> 25);
    t = (x12 + x15) | 0;
    x13 ^= (t << 9) | (t >>> 23);
    t = (x13 + x12) | 0;
    x14 ^= (t << 13) | (t >>> 19);
    t = (x14 + x13) | 0;
    x15 ^= (t << 18) | (t >>> 14);
  }
  to[0] = x0;
  to[1] = x1;
  to[2] = x2;
  to[3] = x3;
  to[4] = x4;
  to[5] = x5;
  to[6] = x6;
  to[7] = x7;
  to[8] = x8;
  to[9] = x9;
  to[10] = x10;
  to[11] = x11;
  to[12] = x12;
  to[13] = x13;
  to[14] = x14;
  to[15] = x15;
}
