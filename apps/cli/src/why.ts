import type { Endpoint, Explanation } from './agent-client.ts';
import { milliseconds, socketAddress, table } from './text.ts';

/** Where a Service leads from this node, and what is wrong with it. */
export function showExplanation(explanation: Explanation): string {
  const { service, type, addresses, name, ports, problems } = explanation;
  const lines = [`${service}  ${type}  ${addresses.join(', ') || 'no ClusterIP'}`, name];
  for (const port of ports) {
    const by = port.chosenBy === 'nobody' ? 'not served' : `chosen by the ${port.chosenBy}, ${port.policy}`;
    const rule = port.rule === null ? '' : `, from DestinationRule ${port.rule}`;
    lines.push('', `${port.port}/${port.protocol}${port.name && ` ${port.name}`}: ${by}${rule}`);
    if (port.endpoints.length > 0) lines.push(endpointTable(port.endpoints));
  }
  if (problems.length > 0) lines.push('', ...problems.map((problem) => `! ${problem}`));
  return lines.join('\n');
}

function endpointTable(endpoints: readonly Endpoint[]): string {
  return table(
    ['endpoint', 'node', 'reached by', 'RTT', 'in use', 'pod'],
    endpoints.map(({ address, port, node, pod, used, reason, via, path, rttMs }) => [
      socketAddress({ host: address, port }),
      node ?? '-',
      path === null ? via : `${via}, ${path}`,
      milliseconds(rttMs),
      used ? 'yes' : reason,
      pod ?? '',
    ]),
  );
}
