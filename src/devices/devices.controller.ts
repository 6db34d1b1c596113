import { Controller, Get, NotFoundException, Param, Post, Redirect, Render, UseGuards } from '@nestjs/common';
import {
  RequireSession,
  Session,
  SessionGuard,
  Sessions,
  SessionUnsupportedError,
  type SessionRequirement,
  type UserSession,
} from 'nest-sessions';
import { formatShortMoment } from '../format.js';
import { deviceName } from './device-name.js';

/** Ending sessions is what somebody would do first who found this browser open, so a login that is older is not enough. */
const FRESH_LOGIN: SessionRequirement = {
  authenticatedWithin: '5m',
  redirectTo: '/confirm-password?next=/devices',
};

@Controller('devices')
@UseGuards(SessionGuard)
@RequireSession({ redirectTo: '/login' })
export class DevicesController {
  constructor(private readonly sessions: Sessions) {}

  @Get()
  @Render('devices')
  async show(@Session() session: Session) {
    const list = await this.listOf(session.userId ?? '');
    return {
      title: 'Devices',
      devices: list?.map((one, index) => ({ ...describe(one, one.id === session.id), number: index + 1 })),
      alone: list?.length === 1,
    };
  }

  /** Null: this engine keeps no sessions on the server. */
  private async listOf(userId: string): Promise<UserSession[] | null> {
    try {
      return await this.sessions.listByUser(userId);
    } catch (error) {
      if (error instanceof SessionUnsupportedError) return null;
      throw error;
    }
  }

  @Post('end-others')
  @RequireSession(FRESH_LOGIN)
  @Redirect('/devices', 303)
  async endOthers(@Session() session: Session) {
    const count = await this.sessions.revokeAll(session.userId ?? '', { except: session });
    session.addFlash('success', `Ended elsewhere: ${count} session${count === 1 ? '' : 's'}.`);
  }

  @Post(':id/end')
  @RequireSession(FRESH_LOGIN)
  @Redirect('/devices', 303)
  async end(@Session() session: Session, @Param('id') id: string) {
    // With the user id, so that nobody can end the sessions of others.
    if (!(await this.sessions.revoke(id, { userId: session.userId }))) throw new NotFoundException();
    session.addFlash('success', 'That session is over.');
  }
}

function describe({ id, device, lastSeenAt, authenticatedAt, remembered }: UserSession, isThis: boolean) {
  return {
    id,
    isThis,
    name: deviceName(device?.userAgent),
    network: device?.ip,
    lastSeen: formatShortMoment(lastSeenAt),
    loggedIn: formatShortMoment(authenticatedAt),
    remembered,
  };
}
