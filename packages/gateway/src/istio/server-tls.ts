import type { KubeObject } from '@edgemesh/core';
import type { CompileContext } from '../common/context.ts';
import type { TlsTermination, TlsVersion } from '../model.ts';
import { namespaceOf } from '../read/conditions.ts';
import type { Field } from '../read/field.ts';
import { readCiphers } from '../tls/ciphers.ts';
import { readCredential } from '../tls/credential.ts';

/** What a server does about TLS. */
export type ServerTls =
  | { readonly kind: 'none' }
  | { readonly kind: 'redirect' }
  | { readonly kind: 'passthrough' }
  | { readonly kind: 'terminate'; readonly termination: TlsTermination }
  | { readonly kind: 'refused'; readonly reason: string };

const MODES = [
  ...(['PASSTHROUGH', 'SIMPLE', 'MUTUAL', 'OPTIONAL_MUTUAL', 'AUTO_PASSTHROUGH', 'ISTIO_MUTUAL'] as const),
] as const;
const KNOWN = [
  ...['httpsRedirect', 'mode', 'credentialName', 'credentialNames', 'minProtocolVersion', 'maxProtocolVersion'],
  ...['cipherSuites', 'caCertCredentialName'],
];
const VERSIONS: Readonly<Record<string, TlsVersion | undefined>> = {
  TLS_AUTO: undefined,
  TLSV1_0: 'TLSv1',
  TLSV1_1: 'TLSv1.1',
  TLSV1_2: 'TLSv1.2',
  TLSV1_3: 'TLSv1.3',
};

/** ServerTLSSettings. Whatever guards the door and cannot be honoured refuses the whole server, and says so. */
export function readServerTls(
  field: Field,
  protocol: 'HTTP' | 'HTTPS' | 'TLS' | 'TCP',
  gateway: KubeObject,
  context: CompileContext,
): ServerTls {
  if (protocol === 'HTTP' || protocol === 'TCP') return readPlain(field, protocol);
  const refuse = (at: Field, reason: string): ServerTls => {
    at.complain(`${reason}: TLS of this server is refused`);
    return { kind: 'refused', reason };
  };
  if (!field.isObject()) return refuse(field, `protocol ${protocol} needs tls settings`);
  // Unknown fields here are restrictions (subjectAltNames, verifyCertificateHash, ...): to ignore them would open the door.
  if (!field.only(KNOWN, 'is not supported')) return refuse(field, 'a setting is not supported');
  if (field.get('mode').value === undefined && !field.get('httpsRedirect').absent)
    field.get('httpsRedirect').complain('is for HTTP servers');
  const mode = field.get('mode').absent ? 'SIMPLE' : field.get('mode').oneOf(MODES);
  if (mode === 'PASSTHROUGH') return { kind: 'passthrough' };
  if (mode === undefined || mode === 'AUTO_PASSTHROUGH' || mode === 'ISTIO_MUTUAL') {
    return refuse(field.get('mode'), `mode ${field.get('mode').shown} is not supported`);
  }
  return readTermination(field, mode, gateway, context, refuse);
}

function readPlain(field: Field, protocol: 'HTTP' | 'TCP'): ServerTls {
  if (!field.isObject()) return { kind: 'none' };
  for (const name of field.names()) {
    if (name !== 'httpsRedirect') field.get(name).complain(`has no effect with protocol ${protocol}`);
  }
  const redirect = field.get('httpsRedirect').flag();
  if (redirect && protocol === 'TCP') field.get('httpsRedirect').complain('has no effect with protocol TCP');
  return { kind: redirect && protocol === 'HTTP' ? 'redirect' : 'none' };
}

function readTermination(
  field: Field,
  mode: 'SIMPLE' | 'MUTUAL' | 'OPTIONAL_MUTUAL',
  gateway: KubeObject,
  context: CompileContext,
  refuse: (at: Field, reason: string) => ServerTls,
): ServerTls {
  const several = field.get('credentialNames').texts();
  const one = field.get('credentialName').name();
  const names = one === undefined ? several : [one];
  const [first] = names;
  const at = field.get(one === undefined && several.length > 0 ? 'credentialNames' : 'credentialName');
  if (first === undefined) return refuse(at, 'is required: files on the node are not supported');
  const namespace = namespaceOf(gateway);
  const credentials = names.map((name) => readCredential({ namespace, name }, context));
  const certificates = credentials.flatMap((credential) => credential.certificates);
  const problem = credentials.find((credential) => credential.problem !== undefined)?.problem;
  if (certificates.length === 0) return refuse(at, problem ?? 'there is no certificate');
  if (problem !== undefined) at.complain(problem);
  const caName = field.get('caCertCredentialName').name();
  const ca =
    caName === undefined
      ? credentials.find((c) => c.ca !== undefined)?.ca
      : readCredential({ namespace, name: caName }, context).ca;
  if (mode !== 'SIMPLE' && ca === undefined) {
    return refuse(
      at,
      `mode ${mode} needs a CA: ca.crt or cacert in Secret ${namespace}/${first} or in ${namespace}/${first}-cacert`,
    );
  }
  const versions = readVersions(field);
  if (versions === undefined) return refuse(field, 'the TLS versions are not supported');
  const ciphers = readCiphers(field.get('cipherSuites'));
  if (ciphers === 'none') return refuse(field.get('cipherSuites'), 'none of the cipher suites is known here');
  return {
    kind: 'terminate',
    termination: {
      certificates,
      ...versions,
      ...(mode !== 'SIMPLE' && ca !== undefined && { clientCa: ca }),
      ...(mode === 'OPTIONAL_MUTUAL' && { clientCertOptional: true }),
      ...(ciphers && { ciphers }),
    },
  };
}

/** Unset is TLS 1.2 and up. */
function readVersions(field: Field): Pick<TlsTermination, 'minVersion' | 'maxVersion'> | undefined {
  const read = (name: string, unset: TlsVersion): TlsVersion | undefined => {
    const word = field.get(name).oneOf(Object.keys(VERSIONS));
    if (word === undefined) return field.get(name).absent ? unset : undefined;
    return VERSIONS[word] ?? unset;
  };
  const minVersion = read('minProtocolVersion', 'TLSv1.2');
  const maxVersion = read('maxProtocolVersion', 'TLSv1.3');
  if (minVersion === undefined || maxVersion === undefined) return undefined;
  if (maxVersion >= minVersion) return { minVersion, maxVersion };
  // Only an upper end below our lower end: the lower end was not asked for.
  if (field.get('minProtocolVersion').absent) return { minVersion: maxVersion, maxVersion };
  field.get('maxProtocolVersion').complain('is below minProtocolVersion');
  return undefined;
}
