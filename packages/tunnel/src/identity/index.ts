export { createTlsIdentity, type TlsIdentity, verifyCertificate } from './certificate.ts';
export { deriveMeshSecrets, type MeshKeys, type MeshSecrets } from './mesh-secrets.ts';
export { createNodeIdentity, loadNodeIdentity, type NodeIdentity } from './node-key.ts';
