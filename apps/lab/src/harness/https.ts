import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LabMachine } from '@edgemesh/testkit/netns';
import { POD_IP } from './mesh.ts';

/** An HTTPS server in the pod of a host, on 8443, with a certificate of its own. */
export async function startHttps(machine: LabMachine, folder: string): Promise<void> {
  const key = join(folder, `${machine.name}.key`);
  const cert = join(folder, `${machine.name}.crt`);
  const subject = ['-subj', '/CN=secure.default.svc.cluster.local', '-days', '1'];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await machine.must('openssl', ['req', '-x509', ...curve, '-keyout', key, '-out', cert, ...subject]);
  const script = join(folder, `${machine.name}-https.cjs`);
  await writeFile(
    script,
    `const { readFileSync } = require('node:fs');
     require('node:https')
       .createServer({ key: readFileSync('${key}'), cert: readFileSync('${cert}') }, (_, r) => r.end('secure hello from ${machine.name}\\n'))
       .listen(8443, '${POD_IP}', () => console.log('ready'));`,
  );
  await machine.spawn(process.execPath, [script]).waitForLine('ready');
}
