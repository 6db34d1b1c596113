/** Whose sessions the epoch of a user has to admit. */
export interface BoundSession {
  id: string;
  /** The moment at which it was bound to its user, by the clock that the epoch is on. */
  bound: number;
}

/**
 * Which sessions of a user count. Revoking all of them moves the epoch, and what was bound to the user earlier has ended
 * with that, whether the index knows it or not.
 */
export class UserEpoch {
  private constructor(
    private readonly at: number,
    private readonly spared: ReadonlyMap<string, number>,
  ) {}

  /** @param fields of the hash, names and values in turn: see user-scripts.ts. None: nothing was ever revoked. */
  static from(fields: readonly string[]): UserEpoch {
    const spared = new Map<string, number>();
    for (let i = 0; i < fields.length; i += 2) spared.set(String(fields[i]), Number(fields[i + 1]));
    return new UserEpoch(spared.get('at') ?? 0, spared);
  }

  admits({ id, bound }: BoundSession): boolean {
    return bound >= (this.spared.get(JSON.stringify(id)) ?? this.at);
  }
}
