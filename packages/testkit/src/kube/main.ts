import { parseArgs } from 'node:util';
import { createKubeApi } from './api/kube-api.ts';
import { createControl } from './control.ts';
import { followFolder } from './folder.ts';
import { createMetaServer } from './meta/meta-server.ts';

const USAGE = `Kubernetes API fake
  --host ADDRESS            address to listen on (127.0.0.1)
  --port PORT               port of the API (0 = any)
  --folder PATH             folder of YAML to load and follow
  --metaserver              run a metaServer in front of it
  --metaserver-port PORT    its port (0 = any)
  --stall-ms MS             its stalls (10000)
  --oddities-off A,B        oddities to switch off; "all" for every one
  --control-port PORT       port of POST /_control/<command> (0 = any)
Prints one line of JSON with the URLs when ready.
`;

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
    folder: { type: 'string' },
    metaserver: { type: 'boolean', default: false },
    'metaserver-port': { type: 'string', default: '0' },
    'stall-ms': { type: 'string', default: '10000' },
    'oddities-off': { type: 'string', default: '' },
    'control-port': { type: 'string', default: '0' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

function oddities(off: string): Record<string, boolean> {
  const names = off.split(',').filter((name) => name !== '');
  return Object.fromEntries(names.map((name) => [name, false]));
}

async function run(): Promise<void> {
  const resources = new AsyncDisposableStack();
  const { host } = values;
  const api = resources.use(await createKubeApi({ host, port: Number(values.port) }));
  const meta = values.metaserver
    ? resources.use(
        await createMetaServer({
          cloud: api,
          host,
          port: Number(values['metaserver-port']),
          stallMs: Number(values['stall-ms']),
          oddities: oddities(values['oddities-off']),
        }),
      )
    : undefined;
  const control = resources.use(
    await createControl({ api, ...(meta && { meta }), host, port: Number(values['control-port']) }),
  );
  if (values.folder !== undefined) {
    const onError = (error: Error) => void process.stderr.write(`${error.message}\n`);
    resources.use(await followFolder({ api, path: values.folder, onError }));
  }
  const stop = () => {
    resources.disposeAsync().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`${String(error)}\n`);
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  process.stdout.write(
    `${JSON.stringify({ api: api.url, ...(meta && { metaServer: meta.url }), control: control.url })}\n`,
  );
}

if (values.help) process.stdout.write(USAGE);
else await run();
