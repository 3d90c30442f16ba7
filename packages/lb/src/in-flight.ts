import { type Endpoint, endpointKey } from '@edgemesh/core';

/** Counts what is in flight per endpoint. Holds an entry only while something is. */
export class InFlight {
  private readonly counts = new Map<string, number>();
  total = 0;

  of(key: string): number {
    return this.counts.get(key) ?? 0;
  }

  begin(endpoint: Endpoint): void {
    const key = endpointKey(endpoint);
    this.counts.set(key, this.of(key) + 1);
    this.total++;
  }

  /** An end without a begin is ignored. */
  end(endpoint: Endpoint): void {
    const key = endpointKey(endpoint);
    const count = this.of(key);
    if (count === 0) return;
    this.total--;
    if (count === 1) this.counts.delete(key);
    else this.counts.set(key, count - 1);
  }
}
