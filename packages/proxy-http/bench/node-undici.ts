import { createServer } from 'node:http';
import { Pool } from 'undici';

/** What node:http and undici do together at their best, without routing or limits. Arguments: backend port, own port. */
const [backendPort, port] = process.argv.slice(2).map(Number) as [number, number];
const pool = new Pool(`http://127.0.0.1:${backendPort}`, { connections: 64 });

createServer((request, response) => {
  pool.stream(
    {
      path: request.url ?? '/',
      method: 'GET',
      headers: request.headers as Record<string, string>,
      body: null,
    },
    ({ statusCode, headers }) => response.writeHead(statusCode, headers),
    (error) => {
      if (error !== null) response.destroy();
    },
  );
}).listen(port, '127.0.0.1');
