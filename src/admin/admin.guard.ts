import { Injectable } from '@nestjs/common';
import { type Session, SessionGuard } from 'nest-sessions';
import { DEMO_USER } from '../account/demo-user.js';

/** An application with users of its own asks for their role. */
const ADMINISTRATORS: ReadonlySet<string | null> = new Set([DEMO_USER.id]);

/** Lets administrators pass; everybody else gets 401. */
@Injectable()
export class AdminGuard extends SessionGuard {
  protected override satisfies({ userId }: Session): boolean {
    return ADMINISTRATORS.has(userId);
  }
}
