/**
 * A resolver for sockets that are only ever given numeric addresses: answers at once. The default goes through
 * `dns.lookup`, which defers every single datagram.
 */
export function numericLookup(
  hostname: string,
  options: unknown,
  callback: (error: NodeJS.ErrnoException | null, address: string, family: number) => void,
): void {
  callback(null, hostname, options === 6 || hostname.includes(':') ? 6 : 4);
}
