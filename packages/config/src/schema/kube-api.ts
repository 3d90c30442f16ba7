import { flag, integer, section, text } from '../fields.ts';
import { anyText, apiServer, filePath, httpUrl } from '../formats.ts';

const OWN = 'is found out by EdgeMesh itself and has no effect here';

const NO_LIMIT = 'one list and one watch per kind are all that is asked, with growing pauses after failures';

const MAY_BE_EMPTY = { mayBeEmpty: true };

const security = section('How metaServer is trusted (KubeEdge 1.12 and later).', {
  requireAuthorization: flag(false, 'metaServer asks for certificates: speak https to it.'),
  insecureSkipTLSVerify: flag(
    false,
    'Do not check the certificate of metaServer. Anybody on the node may then pose as it.',
  ),
  tlsCaFile: text(
    '/etc/edgemesh/metaserver/rootCA.crt',
    filePath,
    'Certificate authority of metaServer, PEM.',
    MAY_BE_EMPTY,
  ),
  tlsCertFile: text(
    '/etc/edgemesh/metaserver/server.crt',
    filePath,
    'Client certificate for metaServer, PEM.',
    MAY_BE_EMPTY,
  ),
  tlsPrivateKeyFile: text(
    '/etc/edgemesh/metaserver/server.key',
    filePath,
    'Private key of the client certificate, PEM.',
    MAY_BE_EMPTY,
  ),
});

export const kubeApiSection = section(
  'Where Services, endpoints and the other objects come from.',
  {
    master: text(
      '',
      apiServer,
      'API server; set, the agent talks to it directly. Empty: from kubeConfig, or found out.',
    ),
    contentType: text(
      'application/json',
      anyText,
      'Accepted for compatibility; JSON is spoken whatever it says.',
      MAY_BE_EMPTY,
    ),
    qps: integer(100, [1, 100_000], 'Requests to the API server, on average.', { unit: '1/s', unused: NO_LIMIT }),
    burst: integer(200, [1, 100_000], 'Requests to the API server at once.', { unused: NO_LIMIT }),
    kubeConfig: text('', filePath, 'Kubeconfig file; set, the agent talks to the API server it names.'),
    metaServer: section("KubeEdge's API on the edge node.", {
      server: text(
        'http://127.0.0.1:10550',
        httpUrl,
        'Address of metaServer. Not given and requireAuthorization on: https://127.0.0.1:10550.',
      ),
      security,
    }),
    deleteKubeConfig: flag(false, 'Delete the kubeconfig file once it has been read.', {
      unused: 'the file stays',
    }),
  },
  { mode: OWN },
);
