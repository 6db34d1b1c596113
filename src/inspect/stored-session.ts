import { type DynamicModule, Injectable, type Type } from '@nestjs/common';
import { Session, Sessions } from 'nest-sessions';
import { formatMoment } from '../format.js';

/** One part of what is stored, in the words of the store. */
export interface StoredPart {
  name: string;
  value: string;
  meaning: string;
}

/** What the store holds for a session, for the page that shows it. */
export abstract class StoredSession {
  /** Null: nothing is stored. */
  abstract partsOf(session: Session): Promise<StoredPart[] | null>;
}

/** Whatever the engine: the session as another request would load it now. */
@Injectable()
export class LoadedSession extends StoredSession {
  constructor(private readonly sessions: Sessions) {
    super();
  }

  async partsOf(session: Session): Promise<StoredPart[] | null> {
    const sessionKey = session.sessionKey();
    const stored = sessionKey === null ? null : await this.sessions.open(sessionKey);
    return (
      stored && [
        { name: 'id', value: stored.id, meaning: 'the public handle, for logs and lists of devices' },
        { name: 'userId', value: stored.userId ?? 'null', meaning: 'whom login() bound the session to' },
        { name: 'data', value: JSON.stringify(stored), meaning: '' },
        { name: 'createdAt', value: moment(stored.createdAt), meaning: '' },
        { name: 'lastSeenAt', value: moment(stored.lastSeenAt), meaning: 'the last write or touch' },
        {
          name: 'expiresAt',
          value: moment(stored.expiresAt),
          meaning: 'when the session ends unless it is used',
        },
      ]
    );
  }
}

function moment(date: Date | null): string {
  return date ? formatMoment(date) : 'null';
}

/** What an engine needs of this application beside itself. */
export interface EngineSurroundings {
  imports: DynamicModule[];
  storedSession: Type<StoredSession>;
}
