import { createControlPlane } from '../src/control/index.ts';
import { createNodeIdentity, deriveMeshSecrets } from '../src/identity/index.ts';

/**
 * A control plane as a process of its own, for the network lab. Arguments: node name, `relay` or `agent`, `mdns` or
 * `quiet`, then relay addresses. It prints a line per event; a name on stdin is looked up.
 */
const [nodeName = '', role = 'agent', lan = 'quiet', ...relays] = process.argv.slice(2);
const started = performance.now();
const plane = await createControlPlane({
  identity: await createNodeIdentity(),
  secrets: deriveMeshSecrets(['the lab']),
  nodeName,
  listen: [{ host: '0.0.0.0', port: 20_006 }],
  relays: relays.map((address) => ({ addresses: [address] })),
  serveRelay: role === 'relay',
  mdns: lan === 'mdns',
});
const say = (...words: readonly unknown[]) => console.log(...words, Math.round(performance.now() - started));
plane.onRecord((record) =>
  say('record', record.nodeName, record.lanAddresses.map(({ host }) => host).join(',') || '-'),
);
plane.onRelays((states) => {
  for (const { state, reason } of states) say('relay', state, `[${reason ?? ''}]`);
  for (const { address } of plane.observedAddresses()) say('observed', address, plane.outboundPort);
});
process.stdin.on('data', async (line: Buffer) => {
  const name = line.toString().trim();
  const asked = performance.now();
  const record = await plane.resolve(name, AbortSignal.timeout(5_000));
  const found = record === undefined ? 'unknown' : plane.isOnLan(record.peerId) ? 'lan' : 'remote';
  console.log('resolved', name, found, Math.round(performance.now() - asked));
});
say('listening');
