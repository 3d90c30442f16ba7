/** What routing reads of a request. */
export interface RequestView {
  readonly method: string;
  readonly scheme: 'http' | 'https';
  /** Host or `:authority` as sent. */
  readonly authority: string;
  /** Lower-case host of the authority: no port, no brackets, no final dot. */
  readonly host: string;
  /** Port that the client connected to. */
  readonly port: number;
  /** Path without query. */
  readonly path: string;
  /** Query as sent, without `?`; empty where there is none. */
  readonly query: string;
  /** Value of a header by lower-case name; repeated headers joined by `,`. */
  header(name: string): string | undefined;
}

/** Host and port of an authority. */
export interface Authority {
  /** Lower-case, without brackets and final dot. */
  readonly host: string;
  readonly port?: number;
}

const MAX_KNOWN = 1_000;
/** Authorities seen before, in memory of their own. */
const known = new Map<string, Authority>();

/** Takes an authority apart (RFC 3986 3.2.2). Undefined where it is none. */
export function parseAuthority(authority: string): Authority | undefined {
  let parsed = known.get(authority);
  if (parsed === undefined) {
    // A copy: a slice would keep the whole head alive.
    const copy = Buffer.from(authority, 'latin1').toString('latin1');
    parsed = takeApart(copy);
    if (parsed === undefined) return undefined;
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(copy, parsed);
  }
  return parsed;
}

function takeApart(authority: string): Authority | undefined {
  const parts = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._~!$&'()*+,;=%-]*))(?::(\d{0,5}))?$/.exec(authority);
  if (parts === null) return undefined;
  const name = (parts[1] ?? parts[2] ?? '').toLowerCase();
  const host = name.length > 1 && name.endsWith('.') ? name.slice(0, -1) : name;
  if (parts[3] === undefined || parts[3] === '') return { host };
  const port = Number(parts[3]);
  return port <= 65_535 ? { host, port } : undefined;
}

/** The first value of a query parameter, decoded as forms are. */
export function queryParameter(query: string, name: string): string | undefined {
  if (query === '') return undefined;
  return new URLSearchParams(query).get(name) ?? undefined;
}

/** A cookie by its name, as sent (RFC 6265 5.4); the first where there are several. */
export function cookieValue(header: string | undefined, name: string): string | undefined {
  if (header === undefined) return undefined;
  for (const pair of header.split(/; ?|,/)) {
    const equals = pair.indexOf('=');
    if (equals > 0 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim();
  }
  return undefined;
}
