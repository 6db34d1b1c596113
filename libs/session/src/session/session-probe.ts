import { SessionRecordCorruptError } from '../session.errors.js';
import { type SessionRecord } from '../stores/session-store.js';
import { type RecordKeeper } from './record-keeper.js';
import { type SessionEnvironment } from './session-environment.js';
import { type StoreKeys } from './session-key.js';
import { acceptanceOf, type ForeignAccess } from './user-sessions.js';

/**
 * Looks whether the session that a token opened is still there, without being a use of it: neither of the two touches
 * the session or is an event. Each probe keeps to its session through all rotations.
 */
export type ProbeFactory = (token: string) => SessionProbe;

/** @throws SessionStoreUnavailableError when the store does not answer, which is no answer */
export type SessionProbe = () => Promise<boolean>;

/** For sessions in a store, which may have been moved under other keys since the last look. */
export function keyedProbes(
  access: Pick<ForeignAccess, 'find'>,
  keys: StoreKeys,
  environment: SessionEnvironment,
): ProbeFactory {
  async function findFrom(storeKey: string): Promise<{ key: string; record: SessionRecord } | null> {
    for (let key = storeKey; ;) {
      const found = await access.find(key);
      if (found === null || !('movedTo' in found)) return found && { key, record: found };
      key = found.movedTo;
    }
  }

  return (token) => {
    let places = [keys.of(token), ...keys.formerly(token)];
    return tolerant(async () => {
      for (const place of places) {
        const found = await findFrom(place);
        if (!found) continue;
        places = [found.key];
        return (await acceptanceOf(found.record.userId, environment))(found.record);
      }
      return false;
    });
  };
}

/** For sessions that clients carry. A token ends by itself, and where such a thing is noted, when its session was ended. */
export function sealedProbes(
  keeper: Pick<RecordKeeper, 'load'>,
  environment: SessionEnvironment,
): ProbeFactory {
  return (token) =>
    tolerant(async () => {
      const found = await keeper.load(token);
      if (found?.standing !== 'live') return false;
      return (await acceptanceOf(found.record.userId, environment))(found.record);
    });
}

/** A record that cannot be read lets nobody in. */
function tolerant(probe: SessionProbe): SessionProbe {
  return () =>
    probe().catch((error: unknown) => {
      if (error instanceof SessionRecordCorruptError) return false;
      throw error;
    });
}
