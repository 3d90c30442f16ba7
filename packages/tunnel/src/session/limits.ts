import type { Clock, Counter, Gauge, Metrics } from '@edgemesh/core';
import type { SessionOptions } from '../options.ts';

/** Streams of all sessions of a node, and what is counted about sessions. */
export class SessionAccounts {
  streamsIn = 0;
  streamsOut = 0;
  bufferedBytes = 0;
  readonly options: SessionOptions;
  readonly sessions: Gauge;
  readonly bytesIn: Counter;
  readonly bytesOut: Counter;
  readonly datagramsDropped: Counter;
  private readonly openGauge: { readonly in: Gauge; readonly out: Gauge };
  private readonly opened: { readonly in: Counter; readonly out: Counter };
  private readonly refused;
  private readonly events;

  constructor(options: SessionOptions, metrics: Metrics) {
    this.options = options;
    const gauge = (name: string, help: string) => metrics.gauge({ name, help }).with();
    const counter = (name: string, help: string) => metrics.counter({ name, help }).with();
    this.sessions = gauge('edgemesh_tunnel_sessions', 'Sessions, suspended ones included.');
    this.bytesIn = counter('edgemesh_tunnel_received_bytes_total', 'Payload bytes from peers.');
    this.bytesOut = counter('edgemesh_tunnel_sent_bytes_total', 'Payload bytes to peers.');
    this.datagramsDropped = counter('edgemesh_tunnel_datagrams_dropped_total', 'Datagrams dropped at a full queue.');
    const open = metrics.gauge({ name: 'edgemesh_tunnel_streams', help: 'Open streams.', labels: ['direction'] });
    this.openGauge = { in: open.with('in'), out: open.with('out') };
    const total = metrics.counter({
      name: 'edgemesh_tunnel_streams_total',
      help: 'Streams opened.',
      labels: ['direction'],
    });
    this.opened = { in: total.with('in'), out: total.with('out') };
    this.refused = metrics.counter({
      name: 'edgemesh_tunnel_streams_refused_total',
      help: 'Streams refused at a limit.',
      labels: ['limit'],
    });
    this.events = metrics.counter({
      name: 'edgemesh_tunnel_session_events_total',
      help: 'What happened to sessions.',
      labels: ['event'],
    });
    metrics.observe(
      { name: 'edgemesh_tunnel_unread_bytes', help: 'Bytes that local readers have not taken.' },
      () => this.bufferedBytes,
    );
  }

  event(name: string): void {
    this.events.with(name).add();
  }

  /** The name of the limit that forbids another stream, if one does; `ofPeer` is what this session has in that direction. */
  exceeded(direction: 'in' | 'out', ofPeer: number): string | undefined {
    const { maxStreamsIn, maxStreamsOut, maxStreamsInPerPeer, maxStreamsOutPerPeer } = this.options;
    const [total, max, maxOfPeer] =
      direction === 'in'
        ? [this.streamsIn, maxStreamsIn, maxStreamsInPerPeer]
        : [this.streamsOut, maxStreamsOut, maxStreamsOutPerPeer];
    const which = direction === 'in' ? 'In' : 'Out';
    return ofPeer >= maxOfPeer ? `maxStreams${which}PerPeer` : total >= max ? `maxStreams${which}` : undefined;
  }

  refuse(limit: string): void {
    this.refused.with(limit).add();
  }

  streamOpened(direction: 'in' | 'out'): void {
    if (direction === 'in') this.streamsIn++;
    else this.streamsOut++;
    this.openGauge[direction].add(1);
    this.opened[direction].add();
  }

  streamClosed(direction: 'in' | 'out'): void {
    if (direction === 'in') this.streamsIn--;
    else this.streamsOut--;
    this.openGauge[direction].add(-1);
  }
}

/** A token bucket: `perSecond` on average, a second's worth at once. */
export class RateLimit {
  private tokens: number;
  private last: number;
  private readonly perSecond: number;
  private readonly clock: Clock;

  constructor(perSecond: number, clock: Clock) {
    this.perSecond = perSecond;
    this.tokens = perSecond;
    this.clock = clock;
    this.last = clock.now();
  }

  take(): boolean {
    const now = this.clock.now();
    this.tokens = Math.min(this.perSecond, this.tokens + ((now - this.last) / 1000) * this.perSecond);
    this.last = now;
    if (this.tokens < 1) return false;
    this.tokens--;
    return true;
  }
}
