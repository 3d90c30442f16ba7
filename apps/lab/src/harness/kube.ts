import { fileURLToPath } from 'node:url';
import type { LabMachine, LabProcess } from '@edgemesh/testkit/netns';

const entry = fileURLToPath(new URL('../../../../packages/testkit/src/kube/main.ts', import.meta.url));

export interface KubeProcess {
  readonly process: LabProcess;
  /** Where agents ask: the API server's URL, or the metaServer's. */
  readonly url: string;
  /** Where `POST /_control/<command>` steers it. */
  readonly control: string;
}

/** Starts the Kubernetes API fake, with a metaServer in front of it where asked, on a host of the lab; it follows the folder. */
export async function startKubeApi(
  machine: LabMachine,
  folder: string,
  kind: 'apiserver' | 'metaserver',
  timeoutMs = 30_000,
): Promise<KubeProcess> {
  const variant = kind === 'metaserver' ? ['--metaserver'] : [];
  const process = machine.node(entry, ['--host', machine.address(), '--folder', folder, ...variant]);
  const urls = JSON.parse(await process.waitForLine(/^\{"api"/, { timeoutMs })) as {
    readonly api: string;
    readonly metaServer?: string;
    readonly control: string;
  };
  return { process, url: urls.metaServer ?? urls.api, control: urls.control };
}
