import type { ObjectStatus } from '../model.ts';
import type { ListenerState } from './listener-table.ts';
import { parseReport, reportOf } from './node-report.ts';
import type { ListenerSpec } from './open-listener.ts';
import { renderStatuses } from './render-statuses.ts';

/**
 * Told what this node reports about its listeners, and how statuses follow from the reports of all nodes that run the
 * gateway; whenever either changes. Undefined while there is nothing to write.
 */
export interface StatusPublisher {
  publish(
    publication:
      | {
          readonly report: string;
          readonly render: (reports: readonly string[]) => readonly Omit<ObjectStatus, 'listenerPorts'>[];
        }
      | undefined,
  ): void;
}

/** Passes on what changes, and nothing else. */
export function createStatusPublication(publisher: StatusPublisher) {
  let seen: readonly ObjectStatus[] | undefined;
  let reported = '';
  let published = '';
  return (statuses: readonly ObjectStatus[], states: readonly ListenerState<ListenerSpec>[]): void => {
    const report = JSON.stringify(reportOf(statuses, states));
    // Asked every two seconds: one plan has one array.
    if (statuses === seen && report === reported) return;
    [seen, reported] = [statuses, report];
    const text = `${report} ${JSON.stringify(statuses)}`;
    if (text === published) return;
    published = text;
    const render = (reports: readonly string[]) => renderStatuses(statuses, reports.map(parseReport));
    publisher.publish(statuses.length === 0 ? undefined : { report, render });
  };
}
