import { createHash, X509Certificate } from 'node:crypto';
import { createSecureContext, type TlsOptions } from 'node:tls';
import { createHostIndex, type HostIndex } from '../route/host-index.ts';

export type TlsVersion = 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3';

/** One certificate and who may use it. PEM texts. */
export interface TlsHost {
  /** Patterns as in virtual hosts; `*` also serves clients that send no name. */
  readonly hosts: readonly string[];
  /** Certificate chain. */
  readonly cert: string;
  readonly key: string;
  /** `require`: only clients with a certificate of `ca`; `optional`: verified where one is sent. Default `none`. */
  readonly clientCertificate?: 'none' | 'optional' | 'require';
  readonly ca?: string;
  /** Default TLSv1.2. */
  readonly minVersion?: TlsVersion;
  readonly maxVersion?: TlsVersion;
  /** OpenSSL cipher list. Default: Node's. */
  readonly ciphers?: string;
}

/** All certificates of a listener at one moment. A change makes a new object; connections keep what they have. */
export interface TlsConfig {
  readonly hosts: readonly TlsHost[];
}

/** A host that can be served. */
export interface ReadyTlsHost {
  readonly host: TlsHost;
  /** Equal for equal configurations, so that what has been built for one snapshot serves the next one. */
  readonly identity: string;
}

/** A configuration made ready. */
export interface TlsSnapshot {
  /** The most specific host for an SNI name; for no name `*`, else the first host. */
  find(serverName: string | undefined): ReadyTlsHost | undefined;
  readonly problems: readonly string[];
  /** Identities of all hosts. */
  readonly identities: ReadonlySet<string>;
}

const snapshots = new WeakMap<TlsConfig, TlsSnapshot>();

/** Checks a configuration, once per object. Hosts that cannot work are left out and listed under `problems`. */
export function tlsSnapshot(config: TlsConfig): TlsSnapshot {
  let snapshot = snapshots.get(config);
  if (snapshot === undefined) {
    snapshot = prepare(config);
    snapshots.set(config, snapshot);
  }
  return snapshot;
}

function prepare(config: TlsConfig): TlsSnapshot {
  const problems: string[] = [];
  const ready: ReadyTlsHost[] = [];
  for (const host of config.hosts) {
    try {
      ready.push(prepareHost(host));
    } catch (error) {
      problems.push(`TLS for ${host.hosts.join(', ')}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const index: HostIndex<ReadyTlsHost> = createHostIndex(
    ready.flatMap((entry) => entry.host.hosts.map((pattern) => [pattern, entry] as const)),
  );
  return {
    problems,
    identities: new Set(ready.map(({ identity }) => identity)),
    find: (name) =>
      name === undefined || name === '' ? (index.find('')[0] ?? ready[0]) : index.find(name.toLowerCase())[0],
  };
}

function prepareHost(host: TlsHost): ReadyTlsHost {
  const asks = (host.clientCertificate ?? 'none') !== 'none';
  if (asks && host.ca === undefined)
    throw new Error('client certificates are asked for, but there is no CA to verify them');
  if (asks && host.ca !== undefined) void new X509Certificate(host.ca);
  // Throws where OpenSSL cannot use it.
  createSecureContext(tlsServerOptions(host));
  const parts = [host.cert, host.key, host.ca, host.minVersion, host.maxVersion, host.ciphers, host.clientCertificate];
  return { host, identity: createHash('sha256').update(JSON.stringify(parts)).digest('base64') };
}

/** What node:tls needs to serve a host. */
export function tlsServerOptions(host: TlsHost): TlsOptions {
  const wanted = host.clientCertificate ?? 'none';
  return {
    cert: host.cert,
    key: host.key,
    minVersion: host.minVersion ?? 'TLSv1.2',
    requestCert: wanted !== 'none',
    rejectUnauthorized: wanted === 'require',
    ...(wanted !== 'none' && host.ca !== undefined && { ca: host.ca }),
    ...(host.maxVersion !== undefined && { maxVersion: host.maxVersion }),
    ...(host.ciphers !== undefined && { ciphers: host.ciphers }),
  };
}
