import { type Clock, type LogFields, type Logger, type LogLevel, systemClock } from '@edgemesh/core';
import { createFieldCleaner, type FieldCleaner } from './log-values.ts';
import { MAX_LINE_CHARS } from './options.ts';

const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

export interface LoggerOptions {
  /** Least level that is written. Default `info`. */
  readonly level?: LogLevel;
  /** `text` for people, `json` (one object a line) for machines. Default `text`. */
  readonly format?: 'json' | 'text';
  /** Takes one whole line with its line end, e.g. `(line) => process.stderr.write(line)`. */
  readonly write: (line: string) => void;
  readonly clock?: Pick<Clock, 'wallNow'>;
  /** Names of secret fields, besides the usual ones (`SECRET_FIELDS`). */
  readonly redact?: readonly string[];
}

/** A logger whose level can be changed while it runs, for itself and all its children. */
export interface LevelLogger extends Logger {
  setLevel(level: LogLevel): void;
  child(fields: LogFields): LevelLogger;
}

interface Shared {
  rank: number;
  readonly emit: (level: LogLevel, message: string, fields: LogFields) => void;
}

/**
 * Creates the logger of a process.
 *
 * text: `2026-11-22T10:00:00.000Z INFO  dns       listening address=169.254.96.16 port=53`
 * json: `{"time":"2026-11-22T10:00:00.000Z","level":"info","component":"dns","message":"listening","port":53}`
 */
export function createLogger(options: LoggerOptions): LevelLogger {
  const clock = options.clock ?? systemClock;
  const clean = createFieldCleaner(options.redact);
  const format = options.format === 'json' ? jsonLine : textLine;
  const emit = (level: LogLevel, message: string, fields: LogFields) => {
    const line = format(new Date(clock.wallNow()).toISOString(), level, message, fields, clean);
    options.write(`${line.length > MAX_LINE_CHARS ? cut(line, options.format) : line}\n`);
  };
  return make({ rank: RANK[options.level ?? 'info'], emit }, {});
}

function make(shared: Shared, base: LogFields): LevelLogger {
  const at = (level: LogLevel) => (message: string, fields?: LogFields) => {
    if (RANK[level] >= shared.rank) shared.emit(level, message, fields === undefined ? base : { ...base, ...fields });
  };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => make(shared, { ...base, ...fields }),
    setLevel(level) {
      shared.rank = RANK[level];
    },
  };
}

type Format = (time: string, level: LogLevel, message: string, fields: LogFields, clean: FieldCleaner) => string;

const RESERVED: ReadonlySet<string> = new Set(['time', 'level', 'component', 'message']);

const jsonLine: Format = (time, level, message, fields, clean) => {
  const line: [string, unknown][] = [
    ['time', time],
    ['level', level],
    ['component', clean('component', fields.component)],
    ['message', message],
  ];
  for (const name of Object.keys(fields)) {
    if (name !== 'component') line.push([RESERVED.has(name) ? `field.${name}` : name, clean(name, fields[name])]);
  }
  return JSON.stringify(Object.fromEntries(line));
};

const textLine: Format = (time, level, message, fields, clean) => {
  const component = fields.component === undefined ? '-' : plain(clean('component', fields.component));
  let line = `${time} ${level.toUpperCase().padEnd(5)} ${component.padEnd(9)} ${escapeControls(message)}`;
  for (const name of Object.keys(fields)) {
    const value = name === 'component' ? undefined : clean(name, fields[name]);
    if (value !== undefined) line += ` ${escapeControls(name)}=${plain(value)}`;
  }
  return line;
};

/** Without quotes where one can still see where it ends. */
function plain(value: unknown): string {
  if (typeof value === 'string' && /^[^\s"'=\\\p{C}]+$/u.test(value)) return value;
  return escapeControls(typeof value === 'object' || typeof value === 'string' ? JSON.stringify(value) : String(value));
}

/** No text from outside may start a line of its own, or move the cursor of a terminal. */
function escapeControls(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (char) => `\\u${char.codePointAt(0)?.toString(16).padStart(4, '0')}`,
  );
}

/** A cut text line is still a line; a cut JSON line would be none, so it keeps its head and the start of the rest as text. */
function cut(line: string, format: LoggerOptions['format']): string {
  if (format !== 'json') return `${line.slice(0, MAX_LINE_CHARS)}... (cut)`;
  const { time, level, component, message, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const head = { time, level, component, message: String(message).slice(0, MAX_LINE_CHARS / 4) };
  return JSON.stringify({ ...head, cut: JSON.stringify(fields).slice(0, MAX_LINE_CHARS / 4) });
}
