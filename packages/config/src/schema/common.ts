import { choice, flag, port, section, text } from '../fields.ts';
import { domainName, filePath, interfaceName, ipAddress, listenAddress, namespaceName, nodeName } from '../formats.ts';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export const LOG_FORMATS = ['text', 'json'] as const;

/** Shared by the agent's commonConfig and the server. */
export const processFields = {
  dataDir: text('/var/lib/edgemesh', filePath, 'Folder for the identity key, the last snapshot and other state.'),
  adminListen: text('127.0.0.1:10551', listenAddress, 'Health, status and metrics over HTTP. Empty: off.', {
    mayBeEmpty: true,
  }),
  logLevel: choice('info', LOG_LEVELS, 'Least level that is logged.'),
  logFormat: choice('text', LOG_FORMATS, 'Log lines for people (text) or for machines (json).'),
};

export const pprofSection = section('Profiling endpoint.', {
  enableProfiling: flag(false, 'Serve heap snapshots (/debug/heap) and CPU profiles (/debug/cpu).'),
  profilingAddress: text(
    '127.0.0.1',
    ipAddress,
    'Address of the profiling endpoint. Profiles hold secrets: keep it on loopback.',
  ),
  profilingPort: port(6060, 'Port of the profiling endpoint.'),
});

export const commonSection = section(
  'What all modules share.',
  {
    bridgeDeviceName: text('edgemesh0', interfaceName, 'Dummy link on which DNS and proxy listen.'),
    bridgeDeviceIP: text(
      '169.254.96.16',
      ipAddress,
      "Address of that link; also the clusterDNS of edge nodes' kubelets.",
    ),
    bridgeDeviceIPv6: text(
      'fd96:16:16::16',
      ipAddress,
      'IPv6 address of that link, for Services with IPv6 addresses. Empty: none; unused where the node has no IPv6.',
      { mayBeEmpty: true },
    ),
    pprofConfig: pprofSection,
    ...processFields,
    logLevel: { ...processFields.logLevel, apply: 'live' },
    nodeName: text(
      '',
      nodeName,
      'Name of this node. Empty: from the environment (NODE_NAME), which also wins over it.',
    ),
    namespace: text('kubeedge', namespaceName, 'Namespace in which EdgeMesh runs.'),
    manifestDir: text(
      '',
      filePath,
      'Folder of Kubernetes YAML to take objects from, no cluster needed. Empty: not used.',
    ),
    clusterDomain: text('cluster.local', domainName, 'Domain under which Services have names.'),
  },
  {
    mode: 'is found out by EdgeMesh itself and has no effect here',
    configMapName: 'has had no effect since EdgeMesh 1.12; remove it',
  },
);
