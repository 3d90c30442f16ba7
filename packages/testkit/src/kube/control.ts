import type { KubeApi } from './api/kube-api.ts';
import { isRecord } from './api/object.ts';
import type { ApiAnswer, ApiRequest } from './api/request.ts';
import { createHttpFace } from './http-face.ts';
import type { MetaServer } from './meta/meta-server.ts';
import { kubeApiDefaults } from './options.ts';

type Arguments = Readonly<Record<string, unknown>>;
type Command = (given: Arguments, text: string) => unknown;

export interface ControlOptions {
  readonly api: KubeApi;
  readonly meta?: MetaServer;
  readonly host?: string;
  readonly port?: number;
}

/** Steers the fakes from another process: `POST /_control/<command>` with a JSON body, `GET /_control/state`. */
export interface Control extends AsyncDisposable {
  readonly url: string;
}

/** Opens the control server, on a port of its own so that it stays reachable while the fakes refuse connections. */
export async function createControl(options: ControlOptions): Promise<Control> {
  const commands = { ...apiCommands(options.api), ...(options.meta && metaCommands(options.meta)) };
  const { host, port, maxBodyBytes, gzipFromBytes } = { ...kubeApiDefaults, ...options };
  const face = await createHttpFace({
    host,
    port,
    maxBodyBytes,
    gzipFromBytes,
    handle: (request) => dispatch(commands, options, request),
  });
  return { url: face.url, [Symbol.asyncDispose]: face.close };
}

async function dispatch(
  commands: Record<string, Command>,
  options: ControlOptions,
  request: ApiRequest,
): Promise<ApiAnswer> {
  const name = /^\/_control\/([a-z-]+)$/.exec(request.url)?.[1] ?? '';
  if (request.method === 'GET' && name === 'state') return json(200, state(options));
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (request.method !== 'POST' || !command)
    return json(404, { error: `no command ${name}`, commands: Object.keys(commands) });
  try {
    const text = request.body ?? '';
    const given: unknown = name === 'apply' || text === '' ? {} : JSON.parse(text);
    const result = await command(isRecord(given) ? given : {}, text);
    return json(200, { ok: true, ...(result !== undefined && typeof result !== 'function' && { result }) });
  } catch (error) {
    return json(400, { error: error instanceof Error ? error.message : String(error) });
  }
}

function json(status: number, body: unknown): ApiAnswer {
  return { status, headers: { 'content-type': 'application/json' }, body: `${JSON.stringify(body)}\n` };
}

function apiCommands(api: KubeApi): Record<string, Command> {
  const match = (given: Arguments) => given as { resource?: string; group?: string; namespace?: string };
  const fault = (given: Arguments) => ({
    ...(typeof given.times === 'number' && { times: given.times }),
    match: {
      ...(typeof given.resource === 'string' && { resource: given.resource }),
      ...(Array.isArray(given.verbs) && { verbs: given.verbs }),
      ...(typeof given.urlIncludes === 'string' && { urlIncludes: given.urlIncludes }),
    },
  });
  const forbidden = new Set<() => void>();
  return {
    apply: (_, text) => api.applyYaml(text).length,
    remove: (given) => api.remove(String(given.kind), given.namespace as string | undefined, String(given.name)),
    fail: (given) => void api.faults.fail(number(given, 'code'), fault(given)),
    delay: (given) => void api.faults.delay(number(given, 'ms'), fault(given)),
    hang: (given) => void api.faults.hang(fault(given)),
    'clear-faults': () => api.faults.clear(),
    forbid: (given) => void forbidden.add(api.access.forbid(given)),
    allow: () => {
      for (const undo of forbidden) undo();
      forbidden.clear();
    },
    'drop-watches': (given) => api.dropWatches(match(given)),
    'end-watches': (given) => api.endWatches(match(given)),
    'cut-watches': (given) => api.cutWatches(match(given)),
    'send-bookmarks': (given) => api.sendBookmarks(match(given)),
    compact: () => api.compact(),
    'expire-continue-tokens': () => api.expireContinueTokens(),
    'freeze-cache': () => api.freezeCache(),
    'thaw-cache': () => api.thawCache(),
    'refuse-connections': () => api.refuseConnections(),
    'accept-connections': () => api.acceptConnections(),
    'drop-connections': () => api.dropConnections(),
  };
}

function metaCommands(meta: MetaServer): Record<string, Command> {
  return {
    disconnect: (given) => meta.disconnect({ silent: given.silent !== false }),
    reconnect: () => meta.reconnect(),
    'stop-cloudcore': () => meta.stopCloudcore(),
    'start-cloudcore': () => meta.startCloudcore(),
    'restart-cloudcore': () => meta.restartCloudcore(),
    'restart-edgecore': () => meta.restartEdgecore(),
    throttle: (given) =>
      meta.throttle(given.bytesPerSecond === undefined ? undefined : number(given, 'bytesPerSecond')),
    'drop-edge-watches': (given) => meta.dropWatches(given.resource as string | undefined),
  };
}

function number(given: Arguments, name: string): number {
  const value = given[name];
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new Error(`${name} must be a number`);
  return value;
}

function state({ api, meta }: ControlOptions): Record<string, unknown> {
  return {
    api: {
      url: api.url,
      resourceVersion: api.resourceVersion,
      requests: api.requests.length,
      watches: api.watches.length,
    },
    ...(meta && {
      metaServer: {
        url: meta.url,
        connected: meta.connected,
        cloudcore: { up: meta.cloudcore.up, frozen: meta.cloudcore.frozen, downBecause: meta.cloudcore.downBecause },
        watches: meta.watches.map(({ url, registered }) => ({ url, registered })),
      },
    }),
  };
}
