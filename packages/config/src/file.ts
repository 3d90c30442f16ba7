import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { messageOf } from '@edgemesh/core';
import { ConfigError } from './errors.ts';
import { MAX_TEXT_BYTES } from './options.ts';

/**
 * Reads a configuration file, never more than the largest one allowed.
 * @throws ConfigError `unreadable`: missing, forbidden, no regular file, too large
 */
export async function readConfigFile(path: string): Promise<string> {
  try {
    return await readBounded(path);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw unreadable(`${path} cannot be read: ${messageOf(error)}`, error);
  }
}

async function readBounded(path: string): Promise<string> {
  // Without O_NONBLOCK a named pipe would hold a thread until somebody writes to it.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const stat = await file.stat();
  if (!stat.isFile()) throw unreadable(`${path} is not a regular file`);
  const buffer = Buffer.allocUnsafe(MAX_TEXT_BYTES + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  if (length > MAX_TEXT_BYTES) throw unreadable(`${path} is larger than ${MAX_TEXT_BYTES} bytes`);
  return buffer.toString('utf8', 0, length);
}

function unreadable(message: string, cause?: unknown): ConfigError {
  return new ConfigError('unreadable', [{ path: '', message }], { cause });
}
