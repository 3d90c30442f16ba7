/** An event of a watch, as it came. */
export interface WireEvent {
  readonly type: string;
  readonly object: WireObject;
}

/** An object as it came: nothing about it is certain. */
export interface WireObject {
  readonly kind?: string;
  readonly apiVersion?: string;
  readonly metadata?: Readonly<Record<string, unknown>> & { readonly name?: string; readonly resourceVersion?: string };
  readonly items?: readonly WireObject[];
  readonly code?: number;
  readonly reason?: string;
  readonly message?: string;
  readonly [field: string]: unknown;
}

/** An answer with its body read. */
export interface WireAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: WireObject;
  /** Names of the items of a list. */
  readonly names: readonly string[];
}

/** An open watch. */
export interface WireWatch {
  /** The next event; rejects when the stream was cut, undefined after a proper end. */
  next(): Promise<WireEvent | undefined>;
  /** Takes `count` events, as `TYPE name`. */
  take(count: number): Promise<string[]>;
  /** Everything until the stream ends. */
  rest(): Promise<WireEvent[]>;
  close(): void;
}

/** The least client that shows what is on the wire; for tests of the fakes. */
export interface WireClient {
  get(path: string, headers?: Record<string, string>): Promise<WireAnswer>;
  send(method: string, path: string, body?: unknown, contentType?: string): Promise<WireAnswer>;
  /** Resolves when the headers are here. */
  watch(path: string): Promise<WireWatch>;
}

export function createWireClient(url: string): WireClient {
  const request = async (path: string, init: RequestInit): Promise<WireAnswer> => {
    const response = await fetch(url + path, init);
    const text = await response.text();
    const json = text.startsWith('{') ? (JSON.parse(text) as WireObject) : {};
    const names = (json.items ?? []).map((item) => String(item.metadata?.name));
    return { status: response.status, headers: response.headers, text, body: json, names };
  };
  return {
    get: (path, headers) => request(path, headers ? { headers } : {}),
    send: (method, path, body, contentType = 'application/json') =>
      request(path, {
        method,
        headers: { 'content-type': contentType },
        ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      }),
    async watch(path) {
      const abort = new AbortController();
      const response = await fetch(url + path, { signal: abort.signal });
      const events = linesOf(response.body as ReadableStream<Uint8Array>);
      const next = async () => (await events.next()).value as WireEvent | undefined;
      return {
        next,
        async take(count) {
          const taken: string[] = [];
          while (taken.length < count) {
            const event = await next();
            if (!event) break;
            taken.push(`${event.type} ${event.object.metadata?.name}`);
          }
          return taken;
        },
        async rest() {
          const all: WireEvent[] = [];
          for await (const event of events) all.push(event);
          return all;
        },
        close: () => abort.abort(),
      };
    },
  };
}

async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<WireEvent, undefined> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      yield JSON.parse(text.slice(0, end)) as WireEvent;
      text = text.slice(end + 1);
    }
  }
  if (text !== '') throw new Error(`the stream ended inside an event: ${text.slice(0, 80)}`);
  return undefined;
}
