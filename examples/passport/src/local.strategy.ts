import { Injectable, UnauthorizedException } from '@nestjs/common';
import { PassportStrategy } from '@nestjs/passport';
import { Strategy } from 'passport-local';
import { type User, Users } from './users.js';

@Injectable()
export class LocalStrategy extends PassportStrategy(Strategy) {
  constructor(private readonly users: Users) {
    super({ usernameField: 'name' });
  }

  validate(name: string, password: string): User {
    const user = this.users.check(name, password);
    if (!user) throw new UnauthorizedException();
    return user;
  }
}
