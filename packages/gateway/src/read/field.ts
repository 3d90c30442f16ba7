/** Takes what an object asks for and does not get. */
export type Report = (path: string, message: string) => void;

/**
 * A value somewhere inside an object, with the path that leads there. Reading never throws: what has another type than
 * expected is reported with its path and reads as absent.
 */
export class Field {
  readonly value: unknown;
  readonly path: string;
  readonly report: Report;

  constructor(value: unknown, path: string, report: Report) {
    this.value = value;
    this.path = path;
    this.report = report;
  }

  /** True for undefined and null, which Kubernetes treats alike. */
  get absent(): boolean {
    return this.value === undefined || this.value === null;
  }

  /** The own properties of an object; anything else reads as empty. */
  private get fields(): Readonly<Record<string, unknown>> {
    const { value } = this;
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
    return {};
  }

  /** How the value looks in a condition: short, on one line. */
  get shown(): string {
    const { value } = this;
    return (typeof value === 'string' ? value : typeof value === 'object' ? 'an object' : String(value)).slice(0, 60);
  }

  /** Reports this value. */
  complain(message: string): void {
    this.report(this.path, message);
  }

  /** A child; absent where this is no object. */
  get(name: string): Field {
    const { fields } = this;
    const value = Object.hasOwn(fields, name) ? fields[name] : undefined;
    return new Field(value, this.path === '' ? name : `${this.path}.${name}`, this.report);
  }

  /** True when it is an object; anything else but an absent value is reported. */
  isObject(): boolean {
    if (this.absent) return false;
    if (typeof this.value === 'object' && !Array.isArray(this.value)) return true;
    this.complain('must be an object');
    return false;
  }

  /** Names of the fields that are set. */
  names(): string[] {
    return Object.entries(this.fields).flatMap(([name, value]) =>
      value === undefined || value === null ? [] : [name],
    );
  }

  /** Reports every set field that is not among the known ones. True when there is none. */
  only(known: readonly string[], reason = 'is not supported'): boolean {
    let clean = true;
    for (const name of this.names()) {
      if (known.includes(name)) continue;
      clean = false;
      this.get(name).complain(reason);
    }
    return clean;
  }

  /** Elements of a list. */
  items(): Field[] {
    if (this.absent) return [];
    if (!Array.isArray(this.value)) {
      this.complain('must be a list');
      return [];
    }
    return this.value.map((value, i) => new Field(value, `${this.path}[${i}]`, this.report));
  }

  /** Entries of a map, in its order. */
  entries(): [name: string, value: Field][] {
    if (!this.isObject()) return [];
    return this.names().map((name) => [name, new Field(this.fields[name], `${this.path}[${name}]`, this.report)]);
  }

  /** A string, also an empty one. */
  text(): string | undefined {
    if (this.absent || typeof this.value === 'string') return (this.value as string | undefined) ?? undefined;
    this.complain('must be a string');
    return undefined;
  }

  /** A string that is not empty; an empty one reads as absent. */
  name(): string | undefined {
    const text = this.text();
    return text === '' ? undefined : text;
  }

  flag(): boolean {
    if (this.absent || typeof this.value === 'boolean') return this.value === true;
    this.complain('must be true or false');
    return false;
  }

  /** A whole number within bounds. */
  count(min: number, max: number): number | undefined {
    if (this.absent) return undefined;
    const { value } = this;
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
    this.complain(`must be a whole number from ${min} to ${max}`);
    return undefined;
  }

  /** A number within bounds. */
  number(min: number, max: number): number | undefined {
    if (this.absent) return undefined;
    const { value } = this;
    if (typeof value === 'number' && value >= min && value <= max) return value;
    this.complain(`must be a number from ${min} to ${max}`);
    return undefined;
  }

  /** One of some words. */
  oneOf<T extends string>(words: readonly T[]): T | undefined {
    const text = this.name();
    if (text === undefined) return undefined;
    if ((words as readonly string[]).includes(text)) return text as T;
    this.complain(`must be one of ${words.join(', ')}`);
    return undefined;
  }

  /** Non-empty strings of a list. */
  texts(): string[] {
    return this.items().flatMap((item) => {
      const text = item.name();
      if (text === undefined && item.absent) item.complain('must be a string');
      return text === undefined ? [] : [text];
    });
  }

  /** A duration as Go and protobuf write it (`30s`, `1m30s`, `0.5s`), in milliseconds. */
  durationMs(): number | undefined {
    if (this.absent) return undefined;
    const ms = parseDurationMs(this.value);
    if (ms === undefined) this.complain('must be a duration such as 30s');
    return ms;
  }
}

const UNIT_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1, us: 0.001, ns: 0.000_001 };

function parseDurationMs(value: unknown): number | undefined {
  if (value === 0 || value === '0') return 0;
  const text = typeof value === 'string' && value.length <= 64 ? value : '';
  if (!/^(\d+(\.\d+)?(h|ms|m|s|us|ns))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)/g)) {
    total += Number(amount) * (UNIT_MS[unit as string] as number);
  }
  return total <= 2 ** 31 - 1 ? total : undefined;
}
