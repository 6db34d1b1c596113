import { BaseEntity, Column, type DataSource, Entity, Index, PrimaryColumn } from 'typeorm';
import { SessionRecordCorruptError, SessionUnsupportedError } from '../../session.errors.js';
import { plainCodec, type RecordCodec } from '../record-codec.js';
import { type JsonObject } from '../session-store.js';
import { dialectOf } from './dialects.js';

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
  /** The store key: a hash. The session key that opens the session is not in the database. */
  @PrimaryColumn({ name: 'session_key', type: 'varchar', length: 80 })
  sessionKey!: string;

  /** The store key that the last rotation took the session from. Requests on their way may still carry it. */
  @Index()
  @Column({ name: 'former_key', type: 'varchar', length: 80, nullable: true })
  formerKey!: string | null;

  /** The snapshot. Read the data with `getDecoded()`: part of it may still be in the log. */
  @Column({ name: 'session_data', type: 'text' })
  sessionData!: string;

  /** Changes since the snapshot. */
  @Column({ name: 'session_log', type: 'text' })
  sessionLog!: string;

  /** What logins and rotations have left, as JSON; null for nothing. */
  @Column({ name: 'session_meta', type: 'text', nullable: true })
  sessionMeta!: string | null;

  @Column({ name: 'version', type: 'int' })
  version!: number;

  /** Epoch milliseconds on the database's clock. Not indexed, so that a touch rewrites no index. */
  @Column({ name: 'expire_date', type: 'bigint', transformer: milliseconds })
  expireDate!: number;

  /** Hours since the epoch of `expireDate`: what `clearExpired` searches by, and what a touch seldom changes. */
  @Index()
  @Column({ name: 'expire_bucket', type: 'int' })
  expireBucket!: number;

  /** The public handle of the session. It opens nothing, and survives rotations. */
  @Index()
  @Column({ name: 'session_id', type: 'varchar', length: 64 })
  sessionId!: string;

  @Index()
  @Column({ name: 'user_id', type: 'varchar', length: 255, nullable: true })
  userId!: string | null;

  /** What `setExpiry` was called with, as JSON; null for whatever the options say. */
  @Column({ name: 'expiry', type: 'varchar', length: 40, nullable: true })
  expiry!: string | null;

  /** Epoch milliseconds on the database's clock. */
  @Column({ name: 'created_at', type: 'bigint', transformer: milliseconds })
  createdAt!: number;

  /** Epoch milliseconds on the database's clock: the last save or touch. */
  @Column({ name: 'last_seen_at', type: 'bigint', transformer: milliseconds })
  lastSeenAt!: number;

  /**
   * The session's data, whether it has expired or not; `{}` when they cannot be decoded.
   * @param codec where the engine encrypts: `new RecordCodec({ secrets })`, made once, for that takes its time
   * @throws SessionUnsupportedError when the row is encrypted and there is no codec
   */
  getDecoded(codec: RecordCodec = plainCodec): JsonObject {
    if (codec === plainCodec && ENCRYPTED.test(`${this.sessionData}\n${this.sessionLog}`)) {
      throw new SessionUnsupportedError(
        'getDecoded() cannot read an encrypted session by itself. Hand it a codec with the secrets of the engine: ' +
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
   * When another request wrote to the session meanwhile, a column takes this request's value if there is one, and
   * keeps the stored value if this request has none: a login is then never blanked by a request that did not know
   * of it, while a removal shows in the column only with the next write.
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
    const { columns, indices } = dataSource.getMetadata(this);
    const adaptations = dialectOf(dataSource)?.columns ?? {};
    for (const column of columns) Object.assign(column, adaptations[column.propertyName]);
    // Most sessions are never moved. TypeORM leaves this out on MySQL, which has no such indexes.
    for (const index of indices) {
      const [column] = index.columns;
      if (column?.propertyName !== 'formerKey') continue;
      index.where = `${dataSource.driver.escape(column.databaseName)} IS NOT NULL`;
    }
  }
}

/** The beginning of an encrypted text, which is that of no JSON. */
const ENCRYPTED = /^e\d\./m;
