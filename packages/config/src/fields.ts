import type { TextFormat } from './formats.ts';

/** What every key says of itself. */
export interface FieldMeta {
  /** One sentence for the documentation and for the comment in the default file. */
  readonly description: string;
  /** Unit of a number: `s`, `bytes/s`, ... */
  readonly unit?: string;
  /** What a change needs. Default: a key of `modules.X` starts that module anew, any other one the process. */
  readonly apply?: ApplyKind;
  /** The key is accepted for compatibility alone; why. Told at the start where its value is not the default. */
  readonly unused?: string;
}

/**
 * | apply | what a change needs |
 * | --- | --- |
 * | `live` | the running module takes the new value over |
 * | `module` | its module starts anew |
 * | `process` | the agent or server starts anew |
 */
export type ApplyKind = 'live' | 'module' | 'process';

export interface BooleanField extends FieldMeta {
  readonly kind: 'boolean';
  readonly default: boolean;
}

export interface NumberField extends FieldMeta {
  readonly kind: 'integer' | 'number';
  readonly default: number;
  readonly min: number;
  readonly max: number;
}

export interface ChoiceField<C extends string = string> extends FieldMeta {
  readonly kind: 'choice';
  readonly default: C;
  readonly choices: readonly C[];
}

export interface TextField extends FieldMeta {
  readonly kind: 'text';
  readonly default: string;
  readonly format: TextFormat;
  /** The empty text is allowed and means what the description says. */
  readonly mayBeEmpty: boolean;
}

/** A list of texts. */
export interface ListField extends FieldMeta {
  readonly kind: 'list';
  readonly default: readonly string[];
  readonly format: TextFormat;
  /** Written in one text with commas, as the original does; `*` and the empty text are the empty list. */
  readonly commaText: boolean;
}

/** A list of objects of one shape. */
export interface ObjectListField<F extends Fields = Fields> extends FieldMeta {
  readonly kind: 'objects';
  readonly default: readonly never[];
  readonly item: Section<F>;
  /** Keys without which an item is an error. */
  readonly required: readonly (keyof F & string)[];
}

/** A free set of keys, each with a list of texts. */
export interface RecordField extends FieldMeta {
  readonly kind: 'record';
  readonly default: Readonly<Record<string, never>>;
  readonly keyFormat: TextFormat;
  readonly format: TextFormat;
}

/** A nested object. */
export interface Section<F extends Fields = Fields> {
  readonly kind: 'section';
  readonly description: string;
  readonly fields: F;
  /** Keys of earlier versions, or ones that the program sets itself: accepted with this warning and without effect. */
  readonly obsolete: Readonly<Record<string, string>>;
}

export type Leaf = BooleanField | NumberField | ChoiceField | TextField | ListField | ObjectListField | RecordField;
export type Field = Leaf | Section;

/** The keys of a section, in the order in which they are documented and written. */
export interface Fields {
  readonly [key: string]: Field;
}

type ValueOf<F> = F extends BooleanField
  ? boolean
  : F extends NumberField
    ? number
    : F extends ChoiceField<infer C>
      ? C
      : F extends TextField
        ? string
        : F extends ListField
          ? readonly string[]
          : F extends ObjectListField<infer S>
            ? readonly ConfigOf<S>[]
            : F extends RecordField
              ? Readonly<Record<string, readonly string[]>>
              : F extends Section<infer S>
                ? ConfigOf<S>
                : never;

/** The checked and completed object that a set of fields describes. */
export type ConfigOf<F extends Fields> = { readonly [K in keyof F]: ValueOf<F[K]> };

type Options = Omit<FieldMeta, 'description'>;

export const flag = (value: boolean, description: string, options: Options = {}): BooleanField => ({
  kind: 'boolean',
  default: value,
  description,
  ...options,
});

/** A whole number within a range, both ends included. */
export const integer = (
  value: number,
  [min, max]: readonly [number, number],
  description: string,
  options: Options = {},
): NumberField => ({ kind: 'integer', default: value, min, max, description, ...options });

export const decimal = (
  value: number,
  [min, max]: readonly [number, number],
  description: string,
  options: Options = {},
): NumberField => ({ kind: 'number', default: value, min, max, description, ...options });

/** A port to listen on; 0 lets the system choose. */
export const port = (value: number, description: string, options: Options = {}): NumberField =>
  integer(value, [0, 65_535], description, options);

export const choice = <const C extends string>(
  value: NoInfer<C>,
  choices: readonly C[],
  description: string,
  options: Options = {},
): ChoiceField<C> => ({ kind: 'choice', default: value, choices, description, ...options });

/** A text; empty is allowed where it is the default, or where the options say so. */
export const text = (
  value: string,
  format: TextFormat,
  description: string,
  options: Options & { readonly mayBeEmpty?: boolean } = {},
): TextField => ({ kind: 'text', default: value, format, mayBeEmpty: value === '', description, ...options });

export const list = (format: TextFormat, description: string, options: Options = {}): ListField => ({
  kind: 'list',
  default: [],
  format,
  commaText: false,
  description,
  ...options,
});

/** A list that the original writes as one text with commas, `"lo,eth0"`, `"*"` for everything. */
export const commaList = (format: TextFormat, description: string, options: Options = {}): ListField => ({
  ...list(format, description, options),
  commaText: true,
});

export const objects = <const F extends Fields>(
  item: Section<F>,
  required: readonly (keyof F & string)[],
  description: string,
  options: Options = {},
): ObjectListField<F> => ({ kind: 'objects', default: [], item, required, description, ...options });

export const record = (
  keyFormat: TextFormat,
  format: TextFormat,
  description: string,
  options: Options = {},
): RecordField => ({ kind: 'record', default: {}, keyFormat, format, description, ...options });

export const section = <const F extends Fields>(
  description: string,
  fields: F,
  obsolete: Readonly<Record<string, string>> = {},
): Section<F> => ({ kind: 'section', description, fields, obsolete });
