/** Media type of the text that {@link renderFamilies} makes. */
export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export interface Sample {
  /** `_bucket`, `_sum`, `_count` of histograms, else empty. */
  readonly suffix: string;
  readonly labels: readonly (readonly [name: string, value: string])[];
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly samples: readonly Sample[];
}

/** Prometheus text format 0.0.4, families by name. Families without samples still show their HELP and TYPE. */
export function renderFamilies(families: readonly Family[]): string {
  const sorted = families.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return sorted.map(renderFamily).join('');
}

function renderFamily({ name, help, type, samples }: Family): string {
  let text = `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${type}\n`;
  for (const { suffix, labels, value } of samples) {
    const inner = labels.map(([label, labelValue]) => `${label}="${escapeLabel(labelValue)}"`).join(',');
    text += `${name}${suffix}${inner === '' ? '' : `{${inner}}`} ${formatNumber(value)}\n`;
  }
  return text;
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function formatNumber(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  return value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value);
}
