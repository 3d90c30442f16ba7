import type { HeaderField, HeaderOps } from '@edgemesh/proxy-http';
import type { Field } from '../read/field.ts';

/** Operations of both directions, and the Host that a request shall get. */
export interface HeaderChanges {
  readonly requestHeaders?: HeaderOps;
  readonly responseHeaders?: HeaderOps;
  readonly host?: string;
}

/** Istio's Headers: set, add and remove for requests and responses. A set Host becomes a rewrite. */
export function readHeaders(field: Field): HeaderChanges {
  if (!field.isObject()) return {};
  field.only(['request', 'response']);
  const request = readOps(field.get('request'));
  const response = readOps(field.get('response'));
  return {
    ...(request.ops && { requestHeaders: request.ops }),
    ...(response.ops && { responseHeaders: response.ops }),
    ...(request.host !== undefined && { host: request.host }),
  };
}

function readOps(field: Field): { readonly ops?: HeaderOps; readonly host?: string } {
  if (!field.isObject()) return {};
  field.only(['set', 'add', 'remove']);
  let host: string | undefined;
  const pairs = (name: 'set' | 'add'): HeaderField[] =>
    field
      .get(name)
      .entries()
      .flatMap(([written, item]) => {
        const header = written.toLowerCase();
        const value = item.text();
        if (value === undefined) return [];
        if (header === 'host' || header === ':authority') {
          host = value;
          return [];
        }
        return isUsable(header, value, item) ? [[header, value] as const] : [];
      });
  const set = pairs('set');
  const add = pairs('add');
  const remove = field
    .get('remove')
    .texts()
    .map((name) => name.toLowerCase());
  const ops = { ...(set.length > 0 && { set }), ...(add.length > 0 && { add }), ...(remove.length > 0 && { remove }) };
  return { ...(Object.keys(ops).length > 0 && { ops }), ...(host !== undefined && { host }) };
}

/** Fields of one hop are the proxy's own business. */
const OF_ONE_HOP = new Set([
  'connection',
  'content-length',
  'transfer-encoding',
  'te',
  'upgrade',
  'keep-alive',
  'expect',
]);

/** Whether a header may be set; reports it where not. */
export function isUsable(header: string, value: string, field: Field): boolean {
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(header) || OF_ONE_HOP.has(header)) {
    field.complain('is no header that can be set');
    return false;
  }
  // RFC 9110 5.5: no control characters.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones that are looked for
  if (/[\u0000-\u0008\u000a-\u001f\u007f]|[^\u0000-\u00ff]/.test(value)) {
    field.complain('is no value of a header');
    return false;
  }
  if (/%[A-Z_]+[(%]/.test(value)) field.complain('Envoy variables are not supported: the value is sent as it is');
  return true;
}
