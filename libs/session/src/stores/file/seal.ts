import { setTimeout as sleep } from 'node:timers/promises';
import { type RecordCodec } from '../record-codec.js';
import { unavailable } from './file-errors.js';
import { encodeFolded, type FileState } from './file-state.js';
import { hasGone, LEASE, thisProcess } from './process-identity.js';
import { type SessionDirectory } from './session-directory.js';
import { type SessionFile } from './session-file.js';

/**
 * How a file whose log has become long is replaced by one without a log, while others write to it:
 *
 * 1. Whoever wants to appends a seal. The owner of the first seal has the right, and the duty, to replace the file.
 *    Entries behind a seal are void; their writers see it and wait for the new file.
 * 2. The owner writes what the file amounts to at the seal into a temporary file and renames that over it.
 * 3. If the owner dies in between, those who wait append takeovers; the first one whose writer lives does it.
 */

/** A process that is held up for so long between seal and rename must suppose that others have taken over. */
const LATEST = LEASE / 3;
const LONGEST_PAUSE = 32;

/** Replaces the file, unless somebody else is at it. */
export async function fold(
  directory: SessionDirectory,
  codec: RecordCodec,
  file: SessionFile,
  before: FileState,
): Promise<void> {
  // First the temporary file, which takes the space: a file that is sealed on a full disk could not be replaced.
  const temporary = await write(directory, codec, before);
  try {
    const { outcome, state } = file.append({ op: 'seal', owner: thisProcess, at: Date.now() });
    if (outcome !== 'applied') return;
    // The seal itself is one more.
    if (state.applied === before.applied + 1) await replace(directory, file, state, temporary);
    else await replace(directory, file, state, await write(directory, codec, state));
  } finally {
    directory.removeTemporary(temporary);
  }
}

/** Waits until a sealed file is replaced; does it itself where the one who was to do it is gone. */
export async function untilReplaced(
  directory: SessionDirectory,
  codec: RecordCodec,
  file: SessionFile,
): Promise<void> {
  let takeover: string | undefined;
  for (let pause = 1; directory.holds(file); pause = Math.min(2 * pause, LONGEST_PAUSE)) {
    const state = file.read();
    const responsible = state.seals.find(({ owner, at }) => !hasGone(owner, at));
    if (responsible === undefined) {
      takeover = file.write({ op: 'takeover', owner: thisProcess, at: Date.now() });
    } else if (responsible.tag === takeover) {
      await replace(directory, file, state, await write(directory, codec, state));
    } else {
      await sleep(pause);
    }
  }
}

function write(directory: SessionDirectory, codec: RecordCodec, state: FileState): Promise<string> {
  return directory.writeTemporary(encodeFolded(state, codec), state.head.expiresAt);
}

async function replace(
  directory: SessionDirectory,
  file: SessionFile,
  { seals }: FileState,
  temporary: string,
): Promise<void> {
  try {
    const mine = seals.findLast(({ owner }) => owner === thisProcess);
    if (mine === undefined || Date.now() - mine.at > LATEST) {
      throw unavailable('fold', directory.path, 'writing a file took too long');
    }
    // Whoever was to do it before has died, perhaps after doing it.
    if (directory.holds(file)) await directory.replace(temporary, file.name);
  } finally {
    directory.removeTemporary(temporary);
  }
}
