import { request as httpRequest } from 'node:http';
import { canonicalIp, messageOf } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { PortMappingOptions } from './options.ts';
import type { GrantedMapping, MappingGateway, MappingRequest } from './protocol.ts';
import { findDescription, type SsdpSearch } from './ssdp.ts';
import { soapCall, textOf, type WanService, wanServices } from './upnp-xml.ts';

/** UPnP's error codes that a second try can answer to. */
const CONFLICT = 718;
const ONLY_PERMANENT_LEASES = 725;
/** Other ports that are tried when the one that we want is somebody else's. */
const MAX_OTHER_PORTS = 4;
const DYNAMIC_PORTS = { first: 20_000, count: 40_000 };

interface Control {
  readonly url: URL;
  readonly service: WanService;
  readonly options: PortMappingOptions;
}

interface Reply {
  readonly status: number;
  readonly body: string;
  /** Our own address on this connection. */
  readonly ownHost: string;
}

/** The router as an Internet Gateway Device of UPnP, version 1 or 2. Rejects with TunnelError when it is none. */
export async function findUpnpGateway(search: SsdpSearch): Promise<MappingGateway> {
  const { options, signal } = search;
  const location = await findDescription(search);
  const description = await call(location, { options, signal });
  const [service] = wanServices(description.body);
  if (service === undefined) throw failed('it has no WAN connection service');
  const base = textOf(description.body, 'URLBase');
  const url = new URL(service.controlUrl, base === undefined || !URL.canParse(base) ? location : base);
  if (url.hostname !== location.hostname) throw failed('its control address is not its own');
  return new UpnpGateway({ url, service, options }, description.ownHost);
}

class UpnpGateway implements MappingGateway {
  readonly protocol = 'upnp';
  readonly #control: Control;
  readonly #ownHost: string;
  /** Lease of what was granted; some routers know endless ones only. */
  #permanent = false;

  constructor(control: Control, ownHost: string) {
    this.#control = control;
    this.#ownHost = ownHost;
  }

  async map(request: MappingRequest, signal: AbortSignal): Promise<GrantedMapping> {
    const answer = await this.#invoke('GetExternalIPAddress', {}, signal);
    const host = canonicalIp(textOf(answer, 'NewExternalIPAddress') ?? '');
    if (host === undefined || host === '0.0.0.0') throw failed('it has no outer address');
    const port = await this.#addMapping(request, signal);
    return { external: { host, port }, lifetimeSeconds: this.#permanent ? 0 : request.lifetimeSeconds };
  }

  async #addMapping(request: MappingRequest, signal: AbortSignal): Promise<number> {
    let port = request.externalPort;
    for (let others = 0; ; ) {
      try {
        await this.#invoke('AddPortMapping', this.#mapping({ ...request, externalPort: port }), signal);
        return port;
      } catch (error) {
        const code = error instanceof UpnpError ? error.upnpCode : undefined;
        if (code === ONLY_PERMANENT_LEASES && !this.#permanent) this.#permanent = true;
        else if (code === CONFLICT && others++ < MAX_OTHER_PORTS) port = randomPort();
        else throw error;
      }
    }
  }

  #mapping({ internalPort, externalPort, lifetimeSeconds }: MappingRequest) {
    return {
      NewRemoteHost: '',
      NewExternalPort: externalPort,
      NewProtocol: 'TCP',
      NewInternalPort: internalPort,
      NewInternalClient: this.#ownHost,
      NewEnabled: 1,
      NewPortMappingDescription: 'edgemesh',
      NewLeaseDuration: this.#permanent ? 0 : lifetimeSeconds,
    };
  }

  async unmap({ externalPort }: MappingRequest, signal: AbortSignal): Promise<void> {
    const mapping = { NewRemoteHost: '', NewExternalPort: externalPort, NewProtocol: 'TCP' };
    await this.#invoke('DeletePortMapping', mapping, signal);
  }

  async #invoke(action: string, parameters: Readonly<Record<string, string | number>>, signal: AbortSignal) {
    const { url, service, options } = this.#control;
    const body = soapCall(service.serviceType, action, parameters);
    const headers = { 'content-type': 'text/xml; charset="utf-8"', soapaction: `"${service.serviceType}#${action}"` };
    const reply = await call(url, { options, signal, post: { body, headers } });
    if (reply.status === 200) return reply.body;
    const code = Number(textOf(reply.body, 'errorCode'));
    throw new UpnpError(`${action} ends with ${code || `HTTP ${reply.status}`}`, code);
  }
}

function randomPort(): number {
  return DYNAMIC_PORTS.first + Math.floor(Math.random() * DYNAMIC_PORTS.count);
}

/** A refusal with UPnP's own code. */
class UpnpError extends TunnelError {
  readonly upnpCode: number;

  constructor(message: string, upnpCode: number) {
    super('refused', `UPnP router: ${message}`);
    this.upnpCode = upnpCode;
  }
}

function failed(why: string, cause?: unknown): TunnelError {
  return new TunnelError('unreachable', `UPnP router: ${why}`, { retryable: true, cause });
}

interface Call {
  readonly options: PortMappingOptions;
  readonly signal: AbortSignal;
  readonly post?: { readonly body: string; readonly headers: Readonly<Record<string, string>> };
}

/** One HTTP request, bounded in time and size. */
function call(url: URL, { options, signal, post }: Call): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const both = AbortSignal.any([signal, AbortSignal.timeout(options.httpTimeoutMs)]);
    const fail = (error: unknown) => reject(failed(messageOf(error), error));
    const method = post === undefined ? 'GET' : 'POST';
    const request = httpRequest(
      url,
      { method, headers: post?.headers ?? {}, agent: false, signal: both },
      (response) => {
        const ownHost = response.socket.localAddress ?? '';
        let body = '';
        response.setEncoding('utf8');
        response.on('error', fail);
        response.on('data', (chunk: string) => {
          body += chunk;
          if (body.length > options.maxHttpBytes) request.destroy(new Error('it says too much'));
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body, ownHost }));
      },
    );
    request.on('error', fail);
    request.end(post?.body);
  });
}
