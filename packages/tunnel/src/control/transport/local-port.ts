import { type AddressInfo, createServer } from 'node:net';

/** A TCP port that is free at the moment, for outbound connections to share; nothing listens on it afterwards. */
export async function pickLocalPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: '0.0.0.0', port: 0 }, resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
