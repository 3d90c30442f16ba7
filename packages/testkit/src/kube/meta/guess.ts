/** How edgecore derives a resource from a kind: it does not know of `gateways`. */
export function guessResource(kind: string): string {
  const lower = kind.toLowerCase();
  if (lower === 'endpoints') return lower;
  if (lower.endsWith('s')) return `${lower}es`;
  if (lower.endsWith('y')) return `${lower.slice(0, -1)}ies`;
  return `${lower}s`;
}

const KNOWN_KINDS: Readonly<Record<string, string>> = {
  endpoints: 'Endpoints',
  endpointslices: 'EndpointSlice',
};

/** How edgecore derives a kind from a resource: one capital letter, whatever the real kind has. */
export function guessKind(resource: string): string {
  const known = KNOWN_KINDS[resource];
  if (known !== undefined) return known;
  const title = resource.charAt(0).toUpperCase() + resource.slice(1);
  if (title.endsWith('ies')) return `${title.slice(0, -3)}y`;
  if (title.endsWith('sses')) return title.slice(0, -2);
  return title.endsWith('s') ? title.slice(0, -1) : title;
}
