import { SessionRecordCorruptError } from '../session.errors.js';
import { type SessionRecord } from '../stores/session-store.js';
import { isStampOf } from './credential-stamp.js';
import { type ExpiryPolicy, isExpired } from './expiry.js';
import { type Found } from './record-keeper.js';
import { type SessionEnvironment } from './session-environment.js';

/** The timeouts that hold for a session with this metadata. */
export function policyOf(
  { meta }: Pick<SessionRecord, 'meta'>,
  environment: SessionEnvironment,
): ExpiryPolicy {
  return meta.remembered ? environment.rememberedPolicy : environment.policy;
}

/**
 * The session that a key leads to, when everything agrees that it goes on: the store, the options of today, the user's
 * credential. What ends or is refused here is told as an event.
 */
export async function lookUp(
  environment: SessionEnvironment,
  sessionKey: string,
): Promise<Exclude<Found, { standing: 'reused' }> | null> {
  const { keeper, emit, onReuse } = environment;
  const found = await unlessCorrupt(environment, () => keeper.load(sessionKey));
  if (found === null || found.standing === 'replaced') return found;
  const { record, token } = found;
  const session = { sessionId: record.id, userId: record.userId };
  if (found.standing === 'reused') {
    emit({ type: 'reuse', ...session });
    if (onReuse === 'report') return null;
    if (await keeper.end(token, record.id)) emit({ type: 'ended', reason: 'reuse', ...session });
    return null;
  }
  if (isExpired(record, environment.now(), policyOf(record, environment))) {
    emit({ type: 'expired', ...session });
    return null;
  }
  if (await hasStaleStamp(record, environment)) {
    if (await keeper.end(token, record.id)) emit({ type: 'ended', reason: 'stamp', ...session });
    return null;
  }
  return found;
}

async function unlessCorrupt<Result>(
  { emit }: SessionEnvironment,
  load: () => Promise<Result>,
): Promise<Result | null> {
  try {
    return await load();
  } catch (error) {
    if (!(error instanceof SessionRecordCorruptError)) throw error;
    emit({ type: 'corrupt', error });
    return null;
  }
}

async function hasStaleStamp(
  { userId, meta }: SessionRecord,
  { currentStamp }: SessionEnvironment,
): Promise<boolean> {
  if (!currentStamp || userId === null) return false;
  return !isStampOf(meta.stamp, await currentStamp(userId));
}
