/** One cause of a failure, as in `details.causes`. */
export interface StatusCause {
  readonly reason?: string;
  readonly message?: string;
  readonly field?: string;
}

/** The `Status` object of meta/v1: the body of every refusal and the object of an ERROR event. */
export interface Status {
  readonly kind: 'Status';
  readonly apiVersion: 'v1';
  readonly metadata: Readonly<Record<string, string>>;
  readonly status: 'Success' | 'Failure';
  readonly message?: string;
  readonly reason?: string;
  readonly details?: Readonly<Record<string, unknown>>;
  readonly code?: number;
}

/** Thrown inside the API; its status becomes the answer. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: Status;

  constructor(status: Status) {
    super(status.message);
    this.status = status;
  }
}

/** What a message is about: group and resource (or kind), and the object's name where there is one. */
export interface Subject {
  readonly group: string;
  readonly resource: string;
  readonly name?: string;
}

function failure(
  code: number,
  reason: string,
  message: string,
  details?: Record<string, unknown>,
  metadata = {},
): ApiError {
  return new ApiError({
    kind: 'Status',
    apiVersion: 'v1',
    metadata,
    status: 'Failure',
    message,
    reason,
    ...(details && { details }),
    code,
  });
}

const qualified = (subject: Subject) =>
  subject.group === '' ? subject.resource : `${subject.resource}.${subject.group}`;
const detailsOf = (subject: Subject) => ({
  ...(subject.name !== undefined && { name: subject.name }),
  ...(subject.group !== '' && { group: subject.group }),
  kind: subject.resource,
});

/** 400: the request itself makes no sense. */
export const badRequest = (message: string): ApiError => failure(400, 'BadRequest', message);

/** 401: no or a wrong bearer token. */
export const unauthorized = (): ApiError => failure(401, 'Unauthorized', 'Unauthorized');

/** 403: known, but not allowed. */
export function forbidden(subject: Subject, user: string, verb: string, namespace: string | undefined): ApiError {
  const where = namespace === undefined ? 'at the cluster scope' : `in the namespace "${namespace}"`;
  const what = `${qualified(subject)}${subject.name === undefined ? '' : ` "${subject.name}"`} is forbidden`;
  const message = `${what}: User "${user}" cannot ${verb} resource "${subject.resource}" in API group "${subject.group}" ${where}`;
  return failure(403, 'Forbidden', message, detailsOf(subject));
}

/** 404: no such object. */
export const notFound = (subject: Subject): ApiError =>
  failure(404, 'NotFound', `${qualified(subject)} "${subject.name}" not found`, detailsOf(subject));

/** 404: no such resource, group or version. The real server says this in plain text for unknown groups; clients see the code. */
export const unknownResource = (): ApiError =>
  failure(404, 'NotFound', 'the server could not find the requested resource', {});

/** 405: the resource has no such verb. */
export const methodNotAllowed = (): ApiError =>
  failure(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {});

/** 406: none of the accepted types is served. */
export const notAcceptable = (): ApiError =>
  failure(406, 'NotAcceptable', 'only the following media types are accepted: application/json, application/yaml');

/** 409: the object changed since it was read. */
export const conflict = (subject: Subject, why?: string): ApiError =>
  failure(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${qualified(subject)} "${subject.name}": ${
      why ?? 'the object has been modified; please apply your changes to the latest version and try again'
    }`,
    detailsOf(subject),
  );

/** 409: an object of that name is there. */
export const alreadyExists = (subject: Subject): ApiError =>
  failure(409, 'AlreadyExists', `${qualified(subject)} "${subject.name}" already exists`, detailsOf(subject));

/** 410: the revision or the continue token is compacted. */
export const expired = (message: string, metadata: Record<string, string> = {}): ApiError =>
  failure(410, 'Expired', message, undefined, metadata);

/** 413: the body is too large. */
export const tooLargeBody = (): ApiError =>
  failure(413, 'RequestEntityTooLarge', 'Request entity too large: limit is 3145728');

/** 415: a body of this type is not understood. */
export const unsupportedMediaType = (type: string): ApiError =>
  failure(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format - accepted media types include: ${type}`,
  );

/** 422: the object is not valid; `causes` name the fields. */
export function invalid(subject: Subject, causes: readonly StatusCause[]): ApiError {
  const list = causes.map((cause) => `${cause.field}: ${cause.message}`).join(', ');
  const message = `${qualified(subject)} "${subject.name ?? ''}" is invalid: ${causes.length > 1 ? `[${list}]` : list}`;
  return failure(422, 'Invalid', message, { ...detailsOf(subject), causes });
}

/** 429: come back later. */
export const tooManyRequests = (retryAfterSeconds: number): ApiError =>
  failure(429, 'TooManyRequests', 'too many requests, please try again later', { retryAfterSeconds });

/** 500. */
export const internalError = (message: string): ApiError =>
  failure(500, 'InternalError', `Internal error occurred: ${message}`, { causes: [{ message }] });

/** 503. */
export const unavailable = (message: string, retryAfterSeconds = 1): ApiError =>
  failure(503, 'ServiceUnavailable', message, { retryAfterSeconds });

/** 504: the revision is of the future and did not come. */
export const tooLargeRevision = (asked: number, current: number): ApiError =>
  failure(504, 'Timeout', `Timeout: Too large resource version: ${asked}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });

/** The answer to a successful delete. */
export function deletedStatus(subject: Subject, uid: string | undefined): Status {
  const details = { ...detailsOf(subject), ...(uid !== undefined && { uid }) };
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details };
}
