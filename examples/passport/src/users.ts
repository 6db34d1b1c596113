import { randomBytes, scryptSync, timingSafeEqual } from 'node:crypto';
import { Injectable } from '@nestjs/common';

export interface User {
  id: string;
  name: string;
}

/** Stands in for a table of users. */
@Injectable()
export class Users {
  readonly #salt = randomBytes(16);
  readonly #users = [{ id: '1', name: 'ada', hash: this.#hash('engine') }];

  check(name: string, password: string): User | null {
    const hash = this.#hash(password);
    const user = this.#users.find((candidate) => candidate.name === name);
    return user && timingSafeEqual(user.hash, hash) ? { id: user.id, name } : null;
  }

  #hash(password: string): Buffer {
    return scryptSync(password, this.#salt, 32);
  }
}
