/** Record types this package speaks of by name (IANA DNS parameters). */
export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DNAME: 39,
  OPT: 41,
  TKEY: 249,
  TSIG: 250,
  IXFR: 251,
  AXFR: 252,
  MAILB: 253,
  MAILA: 254,
  ANY: 255,
} as const;

/** Classes (RFC 1035 3.2.4). */
export const CLASS = { IN: 1, CH: 3, ANY: 255 } as const;

/** Response codes (RFC 1035 4.1.1, RFC 6891 9). */
export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

/** Bits of the second header word (RFC 1035 4.1.1, RFC 4035 3.1.6). */
export const FLAG = {
  QR: 0x8000,
  AA: 0x0400,
  TC: 0x0200,
  RD: 0x0100,
  RA: 0x0080,
  AD: 0x0020,
  CD: 0x0010,
} as const;

/** EDNS option codes. */
export const OPTION = { COOKIE: 10, TCP_KEEPALIVE: 11, PADDING: 12, EXTENDED_ERROR: 15 } as const;

/** Extended DNS error codes (RFC 8914 4). */
export const EDE = {
  OTHER: 0,
  STALE_ANSWER: 3,
  NOT_READY: 14,
  PROHIBITED: 18,
  STALE_NXDOMAIN: 19,
  NO_REACHABLE_AUTHORITY: 22,
} as const;

/** Bytes of the fixed header. */
export const HEADER_BYTES = 12;
/** Longest name on the wire, length bytes and root included (RFC 1035 2.3.4). */
export const MAX_NAME_BYTES = 255;
/** Longest label (RFC 1035 2.3.4). */
export const MAX_LABEL_BYTES = 63;
/** Longest message: the TCP length prefix has 16 bits. */
export const MAX_MESSAGE_BYTES = 65_535;
/** What a client without EDNS accepts over UDP (RFC 1035 2.3.4). */
export const CLASSIC_UDP_BYTES = 512;

const RCODE_NAMES: Readonly<Record<number, string>> = {
  0: 'NOERROR',
  1: 'FORMERR',
  2: 'SERVFAIL',
  3: 'NXDOMAIN',
  4: 'NOTIMP',
  5: 'REFUSED',
  16: 'BADVERS',
};

/** Name of a response code for logs and metric labels; everything rare is `OTHER`, so that the label stays bounded. */
export function rcodeName(rcode: number): string {
  return RCODE_NAMES[rcode] ?? 'OTHER';
}
