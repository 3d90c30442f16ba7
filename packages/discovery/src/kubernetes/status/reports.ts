import type { Clock, KubeObject } from '@edgemesh/core';
import { DiscoveryError } from '../../errors.ts';
import { fieldsOf, textOf } from '../../normalize/read.ts';
import { MAX_REPORT_LENGTH, REPORT_LEASE_SECONDS } from '../../options.ts';
import type { ObjectClient } from '../object-client.ts';

const LABEL = 'edgemesh.kubeedge.io/reports';
const REPORT = 'edgemesh.kubeedge.io/report';

/** What nodes say of themselves, each in a Lease of its own. */
export interface Reports {
  /** Renews this node's Lease. */
  renew(report: string, signal: AbortSignal): Promise<void>;
  /** Reads all; answers those whose node lives, by node, sorted. */
  read(signal: AbortSignal): Promise<readonly NodeReport[]>;
  /** Deletes the Leases of nodes that are gone for long. */
  sweep(signal: AbortSignal): Promise<void>;
  /** Takes this node's Lease away, so that nobody waits for it to run out. */
  release(signal: AbortSignal): Promise<void>;
}

/** What one node says. */
export interface NodeReport {
  readonly node: string;
  readonly report: string;
}

export interface ReportsOptions {
  readonly client: ObjectClient;
  readonly clock: Clock;
  readonly node: string;
  /** Where the Leases are. */
  readonly namespace: string;
  /** What the reports are about: `gateway`. */
  readonly topic: string;
  /** Milliseconds after which the Lease of a node that is gone is deleted. */
  readonly forgetMs: number;
}

/** Reports of one topic. A node lives as long as its Lease changes, by this node's clock: clocks of nodes need not agree. */
export function createReports({ client, clock, node, namespace, topic, forgetMs }: ReportsOptions): Reports {
  const folder = `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/leases`;
  const nameOf = (holder: string) => `edgemesh-${topic}-${holder}`;
  const pathOf = (holder: string) => `${folder}/${encodeURIComponent(nameOf(holder))}`;
  const name = nameOf(node);
  const own = pathOf(node);
  const seen = new Map<string, { readonly stamp: string; readonly at: number }>();
  let written = false;

  const isAlive = (holder: string, lease: KubeObject): boolean => {
    const { renewTime, leaseDurationSeconds } = fieldsOf(lease.spec);
    const stamp = String(renewTime);
    const known = seen.get(holder);
    if (known === undefined || known.stamp !== stamp) {
      seen.set(holder, { stamp, at: clock.now() });
      return true;
    }
    const seconds = typeof leaseDurationSeconds === 'number' ? leaseDurationSeconds : REPORT_LEASE_SECONDS;
    return clock.now() - known.at < seconds * 1000;
  };
  return {
    async renew(report, signal) {
      if (report.length > MAX_REPORT_LENGTH)
        throw new DiscoveryError('config', `a report of ${report.length} characters is too long`);
      const lease = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { name, namespace, labels: { [LABEL]: topic }, annotations: { [REPORT]: report } },
        spec: {
          holderIdentity: node,
          leaseDurationSeconds: REPORT_LEASE_SECONDS,
          // MicroTime has six digits
          renewTime: new Date(clock.wallNow()).toISOString().replace('Z', '000Z'),
        },
      };
      try {
        await client.patch(own, lease, signal);
      } catch (error) {
        if (!isStatus(error, 404)) throw error;
        await client.create(folder, lease, signal);
      }
      written = true;
    },
    async read(signal) {
      const leases = await client.list(`${folder}?labelSelector=${encodeURIComponent(`${LABEL}=${topic}`)}`, signal);
      const alive = new Map<string, NodeReport>();
      for (const lease of leases) {
        const holder = textOf(fieldsOf(lease.spec).holderIdentity);
        const report = textOf(lease.metadata?.annotations?.[REPORT]);
        if (holder === undefined || report === undefined || !isAlive(holder, lease)) continue;
        alive.set(holder, { node: holder, report });
      }
      for (const holder of [...seen.keys()]) {
        if (!leases.some((lease) => fieldsOf(lease.spec).holderIdentity === holder)) seen.delete(holder);
      }
      return [...alive.values()].sort((a, b) => (a.node < b.node ? -1 : 1));
    },
    async sweep(signal) {
      for (const [holder, { at }] of [...seen]) {
        if (clock.now() - at < forgetMs) continue;
        seen.delete(holder);
        try {
          await client.remove(pathOf(holder), signal);
        } catch (error) {
          if (!isStatus(error, 404)) throw error;
        }
      }
    },
    async release(signal) {
      if (!written) return;
      await client.remove(own, signal);
      written = false;
    },
  };
}

/** Whether the API answered with this HTTP status. */
export function isStatus(error: unknown, status: number): boolean {
  return error instanceof DiscoveryError && error.status === status;
}
