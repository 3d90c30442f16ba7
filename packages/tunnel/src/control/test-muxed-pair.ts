import { once } from 'node:events';
import { yamux } from '@chainsafe/libp2p-yamux';
import type { Stream } from '@libp2p/interface';
import { multiaddrConnectionPair } from '@libp2p/utils';

/** For tests: a yamux stream over a connection in memory, both ends. */
export async function muxedPair(): Promise<[Stream, Stream]> {
  const [outbound, inbound] = multiaddrConnectionPair();
  const create = yamux({ enableKeepAlive: false });
  const muxer = (connection: typeof outbound) => create().createStreamMuxer(connection);
  const [here, there] = [muxer(outbound), muxer(inbound)];
  const arrived = new Promise<Stream>((resolve) => there.addEventListener('stream', (event) => resolve(event.detail)));
  const opened = (await here.createStream({ protocol: '/test' })) as Stream;
  opened.send(Uint8Array.of(1)); // a stream exists for the other side with its first byte
  const accepted = await arrived;
  await once(accepted, 'message');
  return [opened, accepted];
}
