import { type CharRanges, DIGIT, foldCase, MAX_UNIT, negate, POSIX, SPACE, WORD } from './char-ranges.ts';

/** Syntax tree of a pattern. `max` of -1 is unbounded. */
export type RegexNode =
  | { readonly kind: 'empty' }
  | { readonly kind: 'chars'; readonly ranges: CharRanges }
  | { readonly kind: 'assert'; readonly what: 'start' | 'end' | 'word' | 'not-word' }
  | { readonly kind: 'cat' | 'alt'; readonly nodes: readonly RegexNode[] }
  | { readonly kind: 'group'; readonly node: RegexNode; readonly index: number }
  | {
      readonly kind: 'repeat';
      readonly node: RegexNode;
      readonly min: number;
      readonly max: number;
      readonly greedy: boolean;
    };

/** A pattern that is not RE2 syntax, or too large. The message says where. */
export class RegexError extends Error {
  override readonly name = 'RegexError';
}

/** Limits of a pattern: length in characters, nesting, and RE2's own bound of `{n}`. */
export const REGEX_LIMITS = {
  maxPatternLength: 1_024,
  maxDepth: 100,
  maxRepeat: 1_000,
  maxInstructions: 5_000,
} as const;

const CONTROL: Readonly<Record<string, number>> = { a: 7, f: 12, t: 9, n: 10, r: 13, v: 11 };

/** Recursive descent over RE2 syntax. What RE2 lacks (back-references, look-around) is an error, as is `\p` and flags `m`, `U`. */
class Parser {
  groups = 0;
  private at = 0;
  private depth = 0;
  private ignoreCase: boolean;
  private dotAll = false;
  private readonly text: string;

  constructor(text: string, ignoreCase: boolean) {
    this.text = text;
    this.ignoreCase = ignoreCase;
  }

  parse(): RegexNode {
    const node = this.alternatives();
    if (this.at < this.text.length) throw this.error('unmatched )');
    return node;
  }

  private error(what: string): RegexError {
    return new RegexError(`${what} at offset ${this.at} of /${this.text}/`);
  }

  private alternatives(): RegexNode {
    if (++this.depth > REGEX_LIMITS.maxDepth) throw this.error('nested too deep');
    // Flags set inside a group end with it.
    const { ignoreCase, dotAll } = this;
    const nodes = [this.sequence()];
    while (this.take('|')) nodes.push(this.sequence());
    this.ignoreCase = ignoreCase;
    this.dotAll = dotAll;
    this.depth--;
    return nodes.length === 1 ? (nodes[0] as RegexNode) : { kind: 'alt', nodes };
  }

  private sequence(): RegexNode {
    const nodes: RegexNode[] = [];
    while (this.at < this.text.length && !'|)'.includes(this.text[this.at] as string)) nodes.push(this.repeated());
    return nodes.length === 0 ? { kind: 'empty' } : { kind: 'cat', nodes };
  }

  private repeated(): RegexNode {
    const node = this.atom();
    const count = this.count();
    if (count === undefined) return node;
    const greedy = !this.take('?');
    if (this.count() !== undefined) throw this.error('repeated quantifier');
    return { kind: 'repeat', node, ...count, greedy };
  }

  private count(): { min: number; max: number } | undefined {
    if (this.take('*')) return { min: 0, max: -1 };
    if (this.take('+')) return { min: 1, max: -1 };
    if (this.take('?')) return { min: 0, max: 1 };
    const braces = /^\{(\d+)(,(\d*))?\}/.exec(this.text.slice(this.at, this.at + 20));
    if (braces === null) return undefined;
    this.at += braces[0].length;
    const min = Number(braces[1]);
    const max = braces[2] === undefined ? min : braces[3] === '' ? -1 : Number(braces[3]);
    if (min > REGEX_LIMITS.maxRepeat || max > REGEX_LIMITS.maxRepeat || (max !== -1 && max < min)) {
      throw this.error('bad repeat count');
    }
    return { min, max };
  }

  private atom(): RegexNode {
    const char = this.text[this.at++] as string;
    switch (char) {
      case '(':
        return this.group();
      case '[':
        return this.chars(this.charClass());
      case '.':
        return { kind: 'chars', ranges: this.dotAll ? [0, MAX_UNIT] : negate([10, 10]) };
      case '^':
        return { kind: 'assert', what: 'start' };
      case '$':
        return { kind: 'assert', what: 'end' };
      case '*':
      case '+':
      case '?':
        this.at--;
        throw this.error('nothing to repeat');
      case '\\':
        return this.escape();
      default:
        return this.chars([char.charCodeAt(0), char.charCodeAt(0)]);
    }
  }

  private chars(ranges: CharRanges): RegexNode {
    return { kind: 'chars', ranges: this.ignoreCase ? foldCase(ranges) : ranges };
  }

  private group(): RegexNode {
    let index = -1;
    if (this.take('?')) {
      const name = /^P?<([A-Za-z_]\w*)>/.exec(this.text.slice(this.at));
      if (name !== null) {
        this.at += name[0].length;
        index = ++this.groups;
      } else {
        const flags = /^([is]*)(-[is]+)?([:)])/.exec(this.text.slice(this.at));
        if (flags === null) throw this.error('unsupported group');
        this.at += flags[0].length;
        return this.flagged(flags[1] as string, flags[2] ?? '', flags[3] as string);
      }
    } else index = ++this.groups;
    const node = this.alternatives();
    if (!this.take(')')) throw this.error('missing )');
    return { kind: 'group', node, index };
  }

  private flagged(on: string, off: string, end: string): RegexNode {
    const { ignoreCase, dotAll } = this;
    this.ignoreCase = (ignoreCase || on.includes('i')) && !off.includes('i');
    this.dotAll = (dotAll || on.includes('s')) && !off.includes('s');
    // (?i) holds until the enclosing group ends.
    if (end === ')') return { kind: 'empty' };
    const node = this.alternatives();
    this.ignoreCase = ignoreCase;
    this.dotAll = dotAll;
    if (!this.take(')')) throw this.error('missing )');
    return node;
  }

  private escape(): RegexNode {
    const char = this.text[this.at++];
    if (char === 'b') return { kind: 'assert', what: 'word' };
    if (char === 'B') return { kind: 'assert', what: 'not-word' };
    if (char === 'A') return { kind: 'assert', what: 'start' };
    if (char === 'z') return { kind: 'assert', what: 'end' };
    if (char === 'Q') return this.quoted();
    return this.chars(this.escapedChars(char));
  }

  private quoted(): RegexNode {
    const end = this.text.indexOf('\\E', this.at);
    const literal = this.text.slice(this.at, end < 0 ? undefined : end);
    this.at = end < 0 ? this.text.length : end + 2;
    const nodes = [...Array(literal.length).keys()].map((i) =>
      this.chars([literal.charCodeAt(i), literal.charCodeAt(i)]),
    );
    return { kind: 'cat', nodes };
  }

  /** The part after a backslash that stands for characters, inside and outside of classes. */
  private escapedChars(char: string | undefined): CharRanges {
    switch (char) {
      case 'd':
        return DIGIT;
      case 'D':
        return negate(DIGIT);
      case 'w':
        return WORD;
      case 'W':
        return negate(WORD);
      case 's':
        return SPACE;
      case 'S':
        return negate(SPACE);
      case 'x': {
        const hex = /^(?:([\dA-Fa-f]{2})|\{([\dA-Fa-f]{1,4})\})/.exec(this.text.slice(this.at));
        if (hex === null) throw this.error('bad \\x');
        this.at += hex[0].length;
        const unit = Number.parseInt((hex[1] ?? hex[2]) as string, 16);
        return [unit, unit];
      }
      case undefined:
        throw this.error('trailing backslash');
    }
    const control = CONTROL[char];
    if (control !== undefined) return [control, control];
    if (/[0-9A-Za-z]/.test(char)) throw this.error(`unsupported escape \\${char}`);
    return [char.charCodeAt(0), char.charCodeAt(0)];
  }

  private charClass(): CharRanges {
    const negated = this.take('^');
    const ranges: number[] = [];
    let first = true;
    while (first || this.text[this.at] !== ']') {
      first = false;
      const low = this.classItem();
      const isRange = this.text[this.at] === '-' && this.text[this.at + 1] !== ']';
      if (!isRange || low.length !== 2 || low[0] !== low[1]) {
        ranges.push(...low);
        continue;
      }
      this.at++;
      const high = this.classItem();
      if (high.length !== 2 || high[0] !== high[1] || (high[0] as number) < (low[0] as number)) {
        throw this.error('bad range');
      }
      ranges.push(low[0] as number, high[0] as number);
    }
    this.at++;
    // Folding comes before negation: (?i)[^a] excludes A, too.
    const folded = this.ignoreCase ? foldCase(ranges) : ranges;
    return negated ? negate(folded) : folded;
  }

  private classItem(): CharRanges {
    const char = this.text[this.at++];
    if (char === undefined) throw this.error('missing ]');
    if (char === '\\') return this.escapedChars(this.text[this.at++]);
    const posix = char === '[' ? /^:(\^?)(\w+):\]/.exec(this.text.slice(this.at)) : null;
    if (posix === null) return [char.charCodeAt(0), char.charCodeAt(0)];
    const ranges = Object.hasOwn(POSIX, posix[2] as string) ? POSIX[posix[2] as string] : undefined;
    if (ranges === undefined) throw this.error('unknown class');
    this.at += posix[0].length;
    return posix[1] === '^' ? negate(ranges) : ranges;
  }

  private take(char: string): boolean {
    if (this.text[this.at] !== char) return false;
    this.at++;
    return true;
  }
}

/** Parses RE2 syntax. @throws RegexError */
export function parseRegex(pattern: string, ignoreCase: boolean): { node: RegexNode; groups: number } {
  if (pattern.length > REGEX_LIMITS.maxPatternLength) {
    throw new RegexError(`pattern is longer than ${REGEX_LIMITS.maxPatternLength} characters`);
  }
  const parser = new Parser(pattern, ignoreCase);
  const node = parser.parse();
  return { node, groups: parser.groups };
}
