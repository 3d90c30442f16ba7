import type { HeaderList } from '../headers.ts';
import type { ResponseHead } from '../message.ts';
import type { Output } from './output.ts';
import { lastChunkText, responseHeadText } from './write-head.ts';

/** What the request says about the framing of its response. */
export interface ResponseTerms {
  /** An HTTP/1.0 client, which knows neither chunks nor, unasked, kept connections. */
  readonly legacy: boolean;
  /** The connection ends with this response. */
  readonly close: boolean;
}

/** Frames one response after another: by length, in chunks, or not at all (upgrades, and bodies that last until the close). */
export class ResponseWriter {
  private readonly output: Output;
  private chunked = false;
  private bodiless = false;

  constructor(output: Output) {
    this.output = output;
  }

  head(head: ResponseHead, { legacy, close }: ResponseTerms): void {
    this.bodiless = head.body === 'none';
    this.chunked = head.body === 'stream' && !legacy;
    const framing = { chunked: this.chunked, close, announceKeepAlive: legacy && !close };
    this.output.addText(responseHeadText(head, framing));
  }

  /** From here on bytes go out as they are. */
  switchToRaw(headText: string): void {
    this.bodiless = false;
    this.chunked = false;
    this.output.addText(headText);
  }

  /** False where there was nothing to write: no body, or an empty piece, which would end a chunked one. */
  body(chunk: Uint8Array): boolean {
    if (this.bodiless || chunk.length === 0) return false;
    if (this.chunked) {
      this.output.addText(`${chunk.length.toString(16)}\r\n`);
      this.output.add(chunk);
      this.output.addText('\r\n');
    } else this.output.add(chunk);
    return true;
  }

  end(trailers: HeaderList | undefined): void {
    if (this.chunked && !this.bodiless) this.output.addText(lastChunkText(trailers));
    this.output.flush();
  }
}
