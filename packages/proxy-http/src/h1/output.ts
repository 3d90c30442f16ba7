import { asBuffer } from './head-buffer.ts';

/** Where the bytes go; the result is false when it wants no more for now. */
export type OutputTarget = (bytes: Buffer) => boolean;

/** Pieces are joined up to this size: one system call costs more than copying it. Larger chunks go uncopied. */
const MAX_JOINED_BYTES = 16_384;

/**
 * Joins what one turn of the event loop writes (head, size lines, small chunks) into one write. Bytes leave at `flush`, at
 * the end of the turn, or when enough has come together.
 */
export class Output {
  private text = '';
  private parts: (string | Buffer)[] | undefined;
  private bytes = 0;
  private scheduled = false;
  private full = false;
  private readonly target: OutputTarget;

  constructor(target: OutputTarget) {
    this.target = target;
  }

  /** Whether the target asked to wait; the owner resets it by {@link drained}. */
  get isFull(): boolean {
    return this.full;
  }

  drained(): void {
    this.full = false;
  }

  /** Latin1 text. */
  addText(text: string): void {
    this.bytes += text.length;
    if (this.parts !== undefined) this.parts.push(text);
    else this.text += text;
    this.schedule();
  }

  /** Latin1 text that nothing follows for now: it leaves at once. */
  sendText(text: string): void {
    if (this.bytes > 0) {
      this.addText(text);
      this.flush();
    } else this.send(Buffer.from(text, 'latin1'));
  }

  add(chunk: Uint8Array): void {
    const bytes = asBuffer(chunk);
    if (this.bytes + bytes.length > MAX_JOINED_BYTES) {
      this.flush();
      if (bytes.length > MAX_JOINED_BYTES / 2) {
        this.send(bytes);
        return;
      }
    }
    this.parts ??= this.text === '' ? [] : [this.text];
    this.text = '';
    this.parts.push(bytes);
    this.bytes += bytes.length;
    this.schedule();
  }

  flush(): void {
    if (this.bytes === 0) return;
    const { parts, text, bytes } = this;
    this.parts = undefined;
    this.text = '';
    this.bytes = 0;
    if (parts === undefined) {
      this.send(Buffer.from(text, 'latin1'));
      return;
    }
    const joined = Buffer.allocUnsafe(bytes);
    let at = 0;
    for (const part of parts) {
      if (typeof part === 'string') at += joined.write(part, at, 'latin1');
      else at += part.copy(joined, at);
    }
    this.send(joined);
  }

  private send(bytes: Buffer): void {
    if (!this.target(bytes)) this.full = true;
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    process.nextTick(flushLater, this);
  }

  /** Runs at the end of the turn. */
  scheduledFlush(): void {
    this.scheduled = false;
    this.flush();
  }
}

function flushLater(output: Output): void {
  output.scheduledFlush();
}
