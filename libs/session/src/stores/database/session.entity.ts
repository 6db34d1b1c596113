import {
  BaseEntity,
  Column,
  type DataSource,
  Entity,
  type EntityMetadata,
  Index,
  PrimaryColumn,
} from 'typeorm';
import { SessionRecordCorruptError, SessionUnsupportedError } from '../../session.errors.js';
import { plainCodec, type RecordCodec } from '../record-codec.js';
import { type JsonObject } from '../session-store.js';

/** Drivers hand out 64-bit integers as strings; epoch milliseconds are safe as numbers. */
const milliseconds = { from: Number, to: (value: unknown): unknown => value };

/**
 * One row per session. For reading, listing and reporting; sessions are written through the store.
 *
 * Subclass it for columns of your own, filled from the session's data by `columnsFrom`.
 *
 * @example
 * ```ts
 * @Entity('nest_session')
 * class AppSession extends SessionEntity {
 *   @Column({ type: 'int', nullable: true })
 *   accountId!: number | null;
 *
 *   static override columnsFrom(data: JsonObject) {
 *     return { accountId: typeof data['accountId'] === 'number' ? data['accountId'] : null };
 *   }
 * }
 * ```
 */
@Entity('nest_session')
export class SessionEntity extends BaseEntity {
  /** Public: it opens nothing. Django's column of this name holds what opens the session. */
  @PrimaryColumn({ name: 'session_key', type: 'varchar', length: 40 })
  sessionId!: string;

  /** Epoch milliseconds on the database's clock. Not indexed, so that a touch rewrites no index. */
  @Column({ name: 'expire_date', type: 'bigint', transformer: milliseconds })
  expireDate!: number;

  /** Epoch milliseconds on the database's clock. */
  @Column({ name: 'created_at', type: 'bigint', transformer: milliseconds })
  createdAt!: number;

  /** Epoch milliseconds on the database's clock: the last save or touch. */
  @Column({ name: 'last_seen_at', type: 'bigint', transformer: milliseconds })
  lastSeenAt!: number;

  /** Raised by every save. */
  @Column({ name: 'version', type: 'int' })
  version!: number;

  /** Hours since the epoch of `expireDate`: what `clearExpired` searches by, and what a touch often leaves as it is. */
  @Index()
  @Column({ name: 'expire_bucket', type: 'int' })
  expireBucket!: number;

  /** A hash of the secret in the cookie. The secret itself is not in the database. */
  @Column({ name: 'key_hash', type: 'varchar', length: 64 })
  keyHash!: string;

  /** The user that `session.login` bound, or null. */
  @Index()
  @Column({ name: 'user_id', type: 'varchar', length: 255, nullable: true })
  userId!: string | null;

  /** What `setExpiry` was called with, as JSON; empty for whatever the options say. */
  @Column({ name: 'expiry', type: 'varchar', length: 40 })
  expiry!: string;

  /** What logins and rotations have left, as JSON; empty for nothing. */
  @Column({ name: 'session_meta', type: 'text' })
  sessionMeta!: string;

  /** Changes since the snapshot. */
  @Column({ name: 'session_log', type: 'text' })
  sessionLog!: string;

  /** The snapshot. Read the data with `getDecoded()`: part of it may still be in the log. */
  @Column({ name: 'session_data', type: 'text' })
  sessionData!: string;

  /**
   * The session's data, whether it has expired or not; `{}` when they cannot be decoded.
   * @param codec where the engine encrypts: `new RecordCodec({ secrets })`, made once, because that takes time
   * @throws SessionUnsupportedError when the row is encrypted and there is no codec
   */
  getDecoded(codec: RecordCodec = plainCodec): JsonObject {
    if (codec === plainCodec && ENCRYPTED.test(`${this.sessionData}\n${this.sessionLog}`)) {
      throw new SessionUnsupportedError(
        'getDecoded() needs a codec to read an encrypted session. Pass one with the secrets of the engine: ' +
          'getDecoded(new RecordCodec({ secrets })).',
      );
    }
    try {
      return codec.decodeData(this.sessionData, this.sessionLog, this.sessionId);
    } catch (error) {
      if (error instanceof SessionRecordCorruptError) return {};
      throw error;
    }
  }

  /**
   * Values for the columns that a subclass adds, by property name, taken from the session's data. Called by every
   * write of data. Return every column every time, null where the data has nothing for it.
   *
   * When another request has written to the session since this one loaded it, a column takes this request's value if
   * there is one, and keeps the stored value if there is none: a login is then never blanked by a request that did not
   * know of it, while a removal shows in the column only with the next write.
   */
  static columnsFrom(_data: JsonObject): Record<string, unknown> {
    return {};
  }

  /**
   * TypeORM calls this when it has built the metadata and before it compares them with the database: the one place
   * where column types can follow the database (on MySQL, `text` would end at 64 KB), for `synchronize`,
   * `migration:generate` and our migration alike.
   */
  static override useDataSource(dataSource: DataSource | null): void {
    super.useDataSource(dataSource);
    if (!dataSource?.hasMetadata(this)) return;
    const adaptations = adaptedColumns[dataSource.options.type] ?? {};
    for (const column of dataSource.getMetadata(this).columns) {
      Object.assign(column, adaptations[column.propertyName]);
    }
  }
}

type ColumnChanges = Readonly<Record<string, Partial<EntityMetadata['columns'][number]>>>;

const postgresColumns: ColumnChanges = {
  // Half again as fast to compare as a language's collation.
  sessionId: { collation: 'C' },
};

const mysqlColumns: ColumnChanges = {
  sessionId: { charset: 'ascii', collation: 'ascii_bin' },
  keyHash: { charset: 'ascii', collation: 'ascii_bin' },
  sessionData: { type: 'mediumtext', charset: 'utf8mb4' },
  sessionLog: { type: 'mediumtext', charset: 'utf8mb4' },
  sessionMeta: { charset: 'utf8mb4' },
  // The default collations hold "Alice" and "alice" for the same.
  userId: { charset: 'utf8mb4', collation: 'utf8mb4_bin' },
};

/** What the columns are made of where it is not what the entity says, by kind of data source. */
const adaptedColumns: Readonly<Record<string, ColumnChanges>> = {
  postgres: postgresColumns,
  mysql: mysqlColumns,
  mariadb: mysqlColumns,
};

/** The beginning of an encrypted text, which is that of no JSON. */
const ENCRYPTED = /^e\d\./m;
