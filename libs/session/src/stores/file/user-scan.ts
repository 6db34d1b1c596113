import { SessionRecordCorruptError } from '../../session.errors.js';
import { systemErrorCode } from './file-errors.js';
import { type Head } from './file-format.js';
import { type FileState, isLive, replay } from './file-state.js';
import { type SessionDirectory } from './session-directory.js';
import { walk } from './walk.js';

/** A live session, its data not yet decoded, under the name that it has now. */
interface Found {
  name: string;
  state: FileState;
}

/** The live sessions of a user. */
export function sessionsOf(directory: SessionDirectory, userId: string): AsyncGenerator<Found> {
  return sessionsThat(directory, (head) => head.userId === userId, userId);
}

/** The live session with this id, if it is bound to this user. */
export function sessionWithId(
  directory: SessionDirectory,
  id: string,
  userId: string | undefined,
): AsyncGenerator<Found> {
  const matches = (head: Head): boolean => head.id === id && (userId === undefined || head.userId === userId);
  return sessionsThat(directory, matches, id);
}

/**
 * Found by looking into every file: nothing beside them could be out of step with them. A session that is renamed
 * during the walk is met under its old name, its new name, or both.
 * @param word a text of the head that all of them share
 */
async function* sessionsThat(
  directory: SessionDirectory,
  matches: (head: Head) => boolean,
  word: string,
): AsyncGenerator<Found> {
  const quoted = JSON.stringify(word);
  for await (const { name } of walk(directory)) {
    const found = liveSession(directory, name, (text) => mayConcern(text, name, quoted));
    if (found && matches(found.state.head)) yield found;
  }
}

/** Sorts out most files without decoding them. Those that lead to another name say little of the session. */
function mayConcern(text: string, name: string, quoted: string): boolean {
  return text.includes(quoted) || !text.includes(`"name":"${name}"`) || text.includes('"moveTo":');
}

function liveSession(
  directory: SessionDirectory,
  name: string,
  isWorthDecoding: (text: string) => boolean,
): Found | null {
  const text = textOf(directory, name);
  if (text === null || !isWorthDecoding(text)) return null;
  try {
    const { state } = replay(text);
    if (isLive(state, name)) return { name, state };
    return state.head.name === name ? null : liveSession(directory, state.head.name, () => true);
  } catch (error) {
    if (error instanceof SessionRecordCorruptError) return null;
    throw error;
  }
}

function textOf(directory: SessionDirectory, name: string): string | null {
  try {
    const file = directory.open(name, 'read');
    try {
      return file?.text() ?? null;
    } finally {
      file?.close();
    }
  } catch (error) {
    // What is not a session of this user's process is not one of this user either.
    if (error instanceof SessionRecordCorruptError || systemErrorCode(error) === 'EACCES') return null;
    throw error;
  }
}
