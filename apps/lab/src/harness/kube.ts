import { fileURLToPath } from 'node:url';
import type { LabMachine, LabProcess } from '@edgemesh/testkit/netns';

const entry = fileURLToPath(new URL('../../../../packages/testkit/src/kube/main.ts', import.meta.url));

export interface KubeProcess {
  readonly process: LabProcess;
  readonly url: string;
}

/** Starts the Kubernetes API fake, or its metaServer variant, on a host of the lab, fed from a folder that it watches. */
export async function startKubeApi(
  machine: LabMachine,
  folder: string,
  kind: 'apiserver' | 'metaserver',
): Promise<KubeProcess> {
  const port = 8001;
  const variant = kind === 'metaserver' ? ['--metaserver'] : [];
  const args = ['--host', machine.address(), '--port', String(port), '--folder', folder, ...variant];
  const process = machine.node(entry, args);
  await process.waitForLine(/listening/);
  return { process, url: `http://${machine.address()}:${port}` };
}
