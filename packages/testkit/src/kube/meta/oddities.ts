/** One way in which the metaServer differs from an API server. */
export interface OddityText {
  /** Section of the observations of the real metaServer. */
  readonly section: string;
  readonly on: string;
  readonly off: string;
}

/** Every oddity the fake reproduces, by its option name. All are on unless switched off. */
export const oddities = {
  localFallback: {
    section: '2',
    on: 'a list that fails in the cloud, for whatever reason, is answered 200 from the rows of the edge',
    off: 'the failure is answered (504 where the cloud cannot be reached)',
  },
  localSelfLink: {
    section: '2',
    on: 'a local list carries metadata.selfLink, `/core/v1/services/null/null`',
    off: 'it does not: local and cloud lists look alike',
  },
  emptyListWithoutMetadata: {
    section: '2',
    on: 'a local list without items has no metadata at all',
    off: 'it has a resourceVersion',
  },
  unsortedLists: {
    section: '2',
    on: 'local lists and replays come in the order of the last write',
    off: 'they are sorted by namespace and name',
  },
  misspeltListKinds: {
    section: '2',
    on: 'local lists guess their kind from the resource: DestinationruleList, VirtualserviceList',
    off: 'they use the real one',
  },
  rowsPerVersion: {
    section: '2',
    on: 'rows belong to the version that was watched: v1alpha3 watched, v1beta1 empty',
    off: 'rows are found at every version',
  },
  offlineFieldSelectors: {
    section: '2',
    on: 'local lists know metadata.name and metadata.namespace; any other field selector yields no items',
    off: 'they evaluate every field',
  },
  offlineLimitIgnored: {
    section: '2',
    on: 'local lists ignore limit: all items, no continue',
    off: 'they stop at the limit, without continue',
  },
  badRevisionBlocksCloudcore: {
    section: '2',
    on: 'a list at a future revision, or exactly at one too old, stalls and keeps cloudcore busy for four stalls',
    off: 'it is a failure like any other',
  },
  protobufDiscovery: {
    section: '2',
    on: 'discovery documents are protobuf under Content-Type application/json',
    off: 'they are JSON',
  },
  plainTextErrors: {
    section: '2',
    on: 'a document that was never fetched is, offline, a text/plain 500 `"" not found`',
    off: 'it is a 503 Status',
  },
  unknownKindsListEmpty: {
    section: '2',
    on: 'listing a group or kind that does not exist is 200 with no items',
    off: 'it is 404',
  },
  endpointSliceRewrite: {
    section: '2.1',
    on: 'lists of EndpointSlices show 127.0.0.1 as the one endpoint of every slice, and 10550 as port https',
    off: 'they are as in the cloud',
  },
  stockRbac: {
    section: '2.2',
    on: 'cloudcore may not read discovery.k8s.io: its lists fall back, its watches freeze',
    off: 'it may',
  },
  forbiddenWatchFreezesCloudcore: {
    section: '2.3',
    on: 'a watch of something cloudcore may not list stalls all later requests, of every node',
    off: 'that watch stays silent, nothing else happens',
  },
  resourceVersionIgnored: {
    section: '3',
    on: 'a watch replays every row as ADDED, whatever its resourceVersion; never a 410',
    off: 'only rows newer than the resourceVersion are replayed',
  },
  noBookmarks: {
    section: '3',
    on: 'no bookmark ever comes, not even the end of the initial events',
    off: 'both come to those who ask',
  },
  deprecatedWatchIsList: {
    section: '3',
    on: '/api/v1/watch/... is a plain list',
    off: 'it is a watch',
  },
  incompleteReplay: {
    section: '3.1',
    on: 'objects that reach the edge after the first read, at or below its highest revision, are not streamed',
    off: 'the replay is complete',
  },
  endpointSlicesLostAtFirst: {
    section: '3.2',
    on: 'what the first watch of EndpointSlices should bring is rejected by the edge and not sent again',
    off: 'it arrives',
  },
  gatewaysNeverDelivered: {
    section: '3.3',
    on: 'pushed Gateways are stored as `gatewaies`: never streamed, never listed locally',
    off: 'they are treated like any kind',
  },
  deletesLostOffline: {
    section: '3.4',
    on: 'a delete that happens without a connection never reaches the edge: the row stays as a ghost',
    off: 'it arrives after reconnection',
  },
  ghostsAnswerGets: {
    section: '3.4',
    on: 'a GET that is 404 in the cloud is answered from the row, if there is one',
    off: 'it is 404',
  },
  deadWatchesAfterRestart: {
    section: '3.5',
    on: 'after a cloudcore restart open watches get nothing new until some watch of the edge closes',
    off: 'they are registered again on reconnection',
  },
  staleRows: {
    section: '3.6',
    on: 'of the changes that only the sync loop would bring after a restart, every second is lost for good',
    off: 'all arrive',
  },
  offlineWatchNeverRegistered: {
    section: '3.7',
    on: 'a watch opened without a connection is never registered: nothing new unless another watch covers it',
    off: 'it is registered on reconnection',
  },
  identicalWatchesShare: {
    section: '3.8',
    on: 'byte-identical watches share one registration: closing one starves the other',
    off: 'each counts for itself',
  },
  missingKindKillsCloudcore: {
    section: '3.9',
    on: 'a watch of something that does not exist kills cloudcore, and again at the next watch close after its restart',
    off: 'that watch stays silent, nothing else happens',
  },
  repeatedAdds: {
    section: '3.10',
    on: 'a watch that is registered again replays known objects as ADDED, mid-stream',
    off: 'it does not',
  },
  silentLossStallsEveryList: {
    section: '4',
    on: 'while a silently lost link goes unnoticed, every list and every opening of a watch stalls',
    off: 'they fall back at once',
  },
  cleanLossStallsFirstList: {
    section: '4',
    on: 'the first list after a noticed loss stalls, the others fall back at once',
    off: 'all fall back at once',
  },
} as const satisfies Record<string, OddityText>;

/** Name of an oddity. */
export type Oddity = keyof typeof oddities;

/** Which oddities are on. */
export type OdditySwitches = Readonly<Record<Oddity, boolean>>;

/** All on, but for what is switched off; `all: false` starts from a metaServer without oddities. */
export function oddityState(given: Partial<OdditySwitches> & { readonly all?: boolean } = {}): OdditySwitches {
  const { all = true, ...single } = given;
  const names = Object.keys(oddities) as Oddity[];
  return Object.fromEntries(names.map((name) => [name, single[name] ?? all])) as OdditySwitches;
}
