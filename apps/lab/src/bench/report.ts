/** One line of the report: a figure of the mesh beside the direct path. */
export interface Row {
  readonly scenario: string;
  readonly what: string;
  readonly unit: string;
  readonly direct?: number;
  readonly mesh: number;
  /** 99th percentile in milliseconds, direct and mesh. */
  readonly p99?: readonly [number, number];
  readonly note?: string;
}

/** Markdown, as it stands in docs/BENCHMARKS.md. */
export function markdown(rows: readonly Row[]): string {
  const lines = [
    '| scenario | what | direct | EdgeMesh | ratio | p99 direct / mesh | |',
    '| --- | --- | --- | --- | --- | --- | --- |',
  ];
  for (const row of rows) {
    const ratio = row.direct === undefined ? '' : `**${((100 * row.mesh) / row.direct).toFixed(0)} %**`;
    const p99 = row.p99 === undefined ? '' : `${row.p99[0].toFixed(1)} / ${row.p99[1].toFixed(1)} ms`;
    const direct = row.direct === undefined ? '' : row.direct.toLocaleString('en');
    lines.push(
      `| ${row.scenario} | ${row.what}, ${row.unit} | ${direct} | ${row.mesh.toLocaleString('en')} | ${ratio} | ${p99} | ${row.note ?? ''} |`,
    );
  }
  return lines.join('\n');
}
