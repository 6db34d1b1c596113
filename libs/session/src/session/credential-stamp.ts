import { hash, timingSafeEqual } from 'node:crypto';

/**
 * The stamp of a user's credential now: any text that changes when sessions opened with the old credential have to end,
 * such as the password's hash. Null: the user may have no session (gone, locked).
 */
export type CurrentStamp = (userId: string) => string | null | Promise<string | null>;

/** What is stored of a stamp: it may be a password's hash, which is nothing to be copied around. */
export function hashStamp(stamp: string): string {
  return hash('sha256', `nest-sessions:stamp:${stamp}`, 'base64url');
}

/** Is this the stamp that was hashed? A session without one was opened with no credential that is known. */
export function isStampOf(hashed: string | undefined, stamp: string | null): boolean {
  if (hashed === undefined || stamp === null) return false;
  const [expected, actual] = [Buffer.from(hashed), Buffer.from(hashStamp(stamp))];
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}
