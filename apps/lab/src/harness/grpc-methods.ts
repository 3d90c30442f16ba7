/** Messages of the echo service: JSON, so that nothing needs to be generated. */
export interface EchoMessage {
  readonly text: string;
  readonly count?: number;
}

const serialize = (message: EchoMessage): Buffer => Buffer.from(JSON.stringify(message));
const deserialize = (bytes: Buffer): EchoMessage => JSON.parse(bytes.toString()) as EchoMessage;
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/echo.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: serialize,
  requestDeserialize: deserialize,
  responseSerialize: serialize,
  responseDeserialize: deserialize,
});

/** The echo service: an answer, a stream, a conversation, an answer that never comes, a count of who gave up, an error. */
export const ECHO_METHODS = {
  say: method('Say', false, false),
  count: method('Count', false, true),
  chat: method('Chat', true, true),
  never: method('Never', false, false),
  cancelled: method('Cancelled', false, false),
  fail: method('Fail', false, false),
};
