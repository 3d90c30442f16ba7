import type { CatalogView, Clock, ServiceId } from '@edgemesh/core';
import type { DnsServerDeps, ListenAddress } from '../options.ts';
import { isWildcard } from '../server/own-address.ts';
import type { Settings } from '../settings.ts';
import { type AnswerStore, createAnswerStore } from './answer-store.ts';
import { createCatalogIndex } from './catalog-index.ts';
import type { ZoneContext } from './types.ts';

/** The zone as it stands: snapshot, index and encoded answers, following the Catalog. */
export interface ZoneState {
  readonly store: AnswerStore;
  readonly context: () => ZoneContext;
  readonly podNamespace: (address: string) => string | undefined;
  setNameServers(bound: readonly ListenAddress[]): void;
  invalidate(services?: Iterable<ServiceId>): void;
  close(): void;
}

/** Subscribes to the view until closed. */
export function createZoneState(
  settings: Settings,
  view: CatalogView,
  deps: Pick<DnsServerDeps, 'addressOf'> & { readonly clock: Clock },
): ZoneState {
  const { addressOf } = deps;
  const store = createAnswerStore(settings.limits.maxZoneAnswers);
  const index = createCatalogIndex(view.current, { reverseCidrs: settings.reverseCidrs, addressOf });
  let context: ZoneContext = {
    catalog: view.current,
    index,
    domains: settings.domains,
    ttl: settings.ttl,
    pods: settings.pods,
    serial: serialNow(deps.clock),
    nameServers: settings.nameServers ?? [],
    addressOf,
  };
  const unsubscribe = view.subscribe((catalog, change) => {
    index.update(catalog, change);
    context = { ...context, catalog, serial: serialNow(deps.clock) };
    store.invalidate(change);
  });
  return {
    store,
    context: () => context,
    podNamespace: (address) => index.podNamespace(address),
    setNameServers(bound) {
      if (settings.nameServers !== undefined) return;
      const nameServers = bound.map(({ address }) => address).filter((address) => !isWildcard(address));
      context = { ...context, nameServers };
      store.clear();
    },
    invalidate(services) {
      const ids = new Set(services ?? context.catalog.services.keys());
      const change = { services: ids, nodes: new Set<string>(), objects: new Set<string>() };
      index.update(context.catalog, change);
      store.invalidate(change);
    },
    close: unsubscribe,
  };
}

/** SOA serial: seconds since the epoch, which grows with every change as long as the wall clock does. */
function serialNow(clock: Clock): number {
  return Math.floor(clock.wallNow() / 1000);
}
