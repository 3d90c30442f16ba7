import { PROXY_DEFAULTS } from '../options.ts';

/** Every socket reads into this memory: what is read is passed on before the next read. Larger reads gain nothing. */
export const RECEIVED = Buffer.allocUnsafeSlow(PROXY_DEFAULTS.receiveBytes);

/** Gathered bytes that do not wait for the end of the turn. */
export const FULL_WRITE_BYTES = 65_536;
