/** A status that an object shall have. Conditions come without times: the writer keeps the old ones or sets new ones. */
export interface WantedStatus {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
  /** Of the very object that was looked at: one that was made anew under the name has none of its status. */
  readonly uid?: string;
  readonly status: Readonly<Record<string, unknown>>;
}

/** What a node wants to be known. */
export interface StatusPublication {
  /** What this node says of itself, for statuses that speak of all nodes: opaque text. */
  readonly report: string;
  /** The statuses of all objects, given what every living node says. Called only on the node that writes. */
  readonly render: (reports: readonly string[]) => readonly WantedStatus[];
}

/** How writing goes, for operators. */
export interface StatusWriterState {
  /** `idle`: there is nothing to write. `leader`: this node writes. `follower`: another one does. */
  readonly role: 'idle' | 'leader' | 'follower';
  /** The node that writes. */
  readonly leader?: string;
  /** Nodes that report. */
  readonly nodes: number;
  /** Statuses that are not what they shall be yet. */
  readonly pending: number;
  /** Why not. */
  readonly problem?: string;
}

/** Writes statuses of objects through the API server. */
export interface StatusWriter extends AsyncDisposable {
  /** Replaces what was published before. Undefined: this node has nothing to say. */
  publish(publication: StatusPublication | undefined): void;
  state(): StatusWriterState;
}
