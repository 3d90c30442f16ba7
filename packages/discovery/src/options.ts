/** Every limit and default of this package, with unit and reason. */

// ---- objects -------------------------------------------------------------------------------------------------------

/** Characters of a name or namespace: RFC 1123 subdomain length, the longest that Kubernetes allows. */
export const MAX_NAME_LENGTH = 253;
/** Endpoints made of one EndpointSlice or Endpoints object. The API allows 1,000 addresses; times a few ports. */
export const MAX_ENDPOINTS_PER_OBJECT = 20_000;
/** Ports of one Service. Above what any real Service has; etcd's object size stops them near 10,000. */
export const MAX_PORTS_PER_SERVICE = 1_000;
/** Problems reported for one object; the rest of a hopeless object is not described. */
export const MAX_PROBLEMS_PER_OBJECT = 20;
/** Kubernetes' default of sessionAffinityConfig.clientIP.timeoutSeconds, 3 hours. */
export const DEFAULT_AFFINITY_TIMEOUT_SECONDS = 10_800;
/** Kubernetes' maximum of the same, one day. */
export const MAX_AFFINITY_TIMEOUT_SECONDS = 86_400;

// ---- catalog -------------------------------------------------------------------------------------------------------

/** Milliseconds in which changes are collected before one publish: under the latency of a watch, over a burst's gaps. */
export const DEFAULT_PUBLISH_WINDOW_MS = 10;
/**
 * Longest wait in milliseconds of a first catalog, where no snapshot gave one, for sources to be synced: Services whose endpoints are
 * still on the way would be refused, and a large cluster would be worked through twice.
 */
export const DEFAULT_FIRST_PUBLISH_MS = 5_000;
/** Age in milliseconds after which data counts as stale: several missed re-lists of any source. */
export const DEFAULT_STALE_AFTER_MS = 300_000;
/** How often ages are looked at and their gauges set, milliseconds. */
export const AGE_CHECK_MS = 10_000;
/** Deletions remembered per kind and source, so that a late update of a deleted object cannot bring it back. */
export const MAX_TOMBSTONES = 4_096;
/** Distinct problems that are logged once and then only counted. */
export const MAX_REMEMBERED_PROBLEMS = 1_000;
/** Backoff of a source whose run failed. */
export const SOURCE_BACKOFF = { initialMs: 1_000, maxMs: 30_000 } as const;

// ---- snapshot ------------------------------------------------------------------------------------------------------

/** Milliseconds without a change before a snapshot is written: spares flash during a rollout. */
export const DEFAULT_SNAPSHOT_DEBOUNCE_MS = 2_000;
/** Longest time in milliseconds a change waits for the disk under steady churn. */
export const DEFAULT_SNAPSHOT_MAX_DELAY_MS = 30_000;
/** Rewrite for the sake of the age alone, milliseconds: a few writes per hour on an idle cluster. */
export const DEFAULT_SNAPSHOT_REFRESH_MS = 900_000;
/** Largest snapshot in bytes; 100,000 endpoints take about 25 MB. */
export const DEFAULT_SNAPSHOT_MAX_BYTES = 64 * 1024 * 1024;
/** What snapshots may write to the disk in the long run: a state of 30 MB goes there every four minutes at most. */
export const SNAPSHOT_BYTES_PER_SECOND = 128 * 1024;
/** Objects serialised before the event loop gets its turn; about a millisecond. */
export const SNAPSHOT_BATCH = 200;

// ---- manifests -----------------------------------------------------------------------------------------------------

/** Largest manifest file in bytes. */
export const DEFAULT_MANIFEST_MAX_FILE_BYTES = 8 * 1024 * 1024;
/** Files read from one folder. */
export const DEFAULT_MANIFEST_MAX_FILES = 5_000;
/** Depth of nested folders. */
export const MANIFEST_MAX_DEPTH = 16;
/** Folders watched; more are found by the periodic scan only (inotify's per-user limit is shared). */
export const MANIFEST_MAX_WATCHED_FOLDERS = 256;
/** Periodic scan in milliseconds, for file systems without notification (NFS, some FUSE). */
export const DEFAULT_MANIFEST_RESCAN_MS = 30_000;
/** Milliseconds between a notice of change and the scan: editors and kubelet write in several steps, all within a moment. */
export const DEFAULT_MANIFEST_DEBOUNCE_MS = 20;
/** Milliseconds until something that shrank to nothing is looked at again. */
export const MANIFEST_SECOND_LOOK_MS = 100;
/** Milliseconds of parsing before the event loop gets its turn. */
export const MANIFEST_TURN_MS = 10;

// ---- kubernetes ----------------------------------------------------------------------------------------------------

/** Objects per page of a list from an API server; client-go's own page size. */
export const DEFAULT_PAGE_LIMIT = 500;
/** Objects per page through a metaServer: about 0.5 MB, so that a 1 Mbit/s link answers within its 10 s (METASERVER.md 4). */
export const DEFAULT_META_PAGE_LIMIT = 200;
/** Smallest page a metaServer reflector shrinks to on a thin link. */
export const MIN_META_PAGE_LIMIT = 10;
/** Pages of one list. */
export const MAX_PAGES = 2_000;
/** Milliseconds for a list page, and for the headers of a watch. Over the metaServer's own 10 s, or its answer is never seen. */
export const DEFAULT_REQUEST_TIMEOUT_MS = 20_000;
/** The least a request to a metaServer may be given, milliseconds: its RPC budget is 10 s, the answer comes after that. */
export const MIN_META_REQUEST_TIMEOUT_MS = 11_000;
/** Largest list page in bytes, after decompression. */
export const MAX_PAGE_BYTES = 64 * 1024 * 1024;
/** Largest watch event in bytes; etcd refuses objects above 1.5 MB. */
export const MAX_WATCH_EVENT_BYTES = 8 * 1024 * 1024;
/** Largest error body that is read, bytes. */
export const MAX_ERROR_BODY_BYTES = 64 * 1024;
/** Milliseconds between full re-lists at an API server: repairs what a watch silently lost. */
export const DEFAULT_RELIST_MS = 600_000;
/** Range in milliseconds of the re-list interval through a metaServer (METASERVER.md 5.5). */
export const META_RELIST_MS = { min: 30_000, max: 60_000 } as const;
/** Milliseconds between looks at the cloud link while it is down. */
export const META_PROBE_MS = { min: 5_000, max: 10_000 } as const;
/** A watch without a single byte for this many milliseconds is reopened; bookmarks come about every minute. */
export const DEFAULT_WATCH_IDLE_MS = 180_000;
/** Range of `timeoutSeconds` of a watch (METASERVER.md 5.7). */
export const WATCH_TIMEOUT_SECONDS = { min: 300, max: 600 } as const;
/** Milliseconds until a list that shrank to nothing is asked for again. */
export const SECOND_LOOK_MS = 5_000;
/** Milliseconds between probes for a resource that the server does not have (a missing CRD); under the age that counts as stale. */
export const MISSING_REPROBE_MS = 240_000;
/** Backoff of failed lists and watches. */
export const REFLECTOR_BACKOFF = { initialMs: 500, maxMs: 30_000 } as const;
/** Watch events kept while a list is under way, to be applied again on top of it. */
export const MAX_EVENTS_DURING_LIST = 4_096;
/** Secrets and ConfigMaps by name, and namespaces of Pods, that may be followed at one time: each is a watch. */
export const MAX_FOLLOWED = 256;

// ---- statuses ------------------------------------------------------------------------------------------------------

/** Seconds after which a node whose Lease does not change counts as gone. */
export const REPORT_LEASE_SECONDS = 45;
/** Milliseconds after which the Lease of a node that is gone is deleted. */
export const REPORT_FORGET_MS = 3_600_000;
/** Milliseconds between renewals of the Lease. */
export const REPORT_RENEW_MS = 15_000;
/** Milliseconds between looks at the Leases of all nodes: how soon one that leaves or appears shows in statuses. */
export const REPORT_LOOK_MS = 5_000;
/** Characters of what a node reports; annotations of an object may have 256 KiB together. */
export const MAX_REPORT_LENGTH = 128 * 1024;
/** Milliseconds that changes are collected before statuses are written. */
export const STATUS_DELAY_MS = 200;
/** Milliseconds between two objects: at most 20 of them a second. */
export const STATUS_PAUSE_MS = 50;
/** Milliseconds after which every status is compared with what the API server has, in case somebody overwrote it. */
export const STATUS_RESYNC_MS = 600_000;
/** How often a status is read and written again at once when the object changed in between. */
export const STATUS_CONFLICT_TRIES = 5;
/** A view of the other nodes younger than this many milliseconds is good enough to write by. */
export const STATUS_VIEW_MS = 2_000;
/** Backoff of Leases and statuses that cannot be written, for instance for want of permission. */
export const STATUS_BACKOFF = { initialMs: 1_000, maxMs: 300_000 } as const;
