/** What waits for the end of a turn of the event loop. */
export interface Gathering {
  flush(): void;
}

let gathering: Gathering[] = [];

function flushAll(): void {
  const streams = gathering;
  gathering = [];
  for (const stream of streams) stream.flush();
}

/** Calls `flush` when all sockets that are readable now have been read. */
export function flushLater(stream: Gathering): void {
  if (gathering.length === 0) setImmediate(flushAll);
  gathering.push(stream);
}
