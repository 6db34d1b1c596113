import { Controller, Get, Inject, Render } from '@nestjs/common';
import { Session } from 'nest-sessions';
import { ENGINE } from '../session-engine.js';
import { type Settings } from '../settings.js';
import { StoredSession } from './stored-session.js';

const places: Record<Settings['engine'], string> = {
  database: 'In the table nest_session',
  sql: 'In the table nest_session, without TypeORM',
  redis: 'In Redis, as one value',
  cache: 'In the cache, as one entry',
  'cached-database': 'In the table nest_session, behind a cache',
  file: 'In a file of its own',
  cookie: 'In the cookie itself, encrypted',
  memory: 'In the memory of this process',
  'express-store': 'In a store of express-session',
};

@Controller('inspect')
export class InspectController {
  constructor(
    private readonly storedSession: StoredSession,
    @Inject(ENGINE) private readonly engine: Settings['engine'],
  ) {}

  @Get()
  @Render('inspect')
  async show(@Session() session: Session) {
    return {
      title: 'Inspect',
      id: session.id,
      data: JSON.stringify(session, null, 2),
      place: places[this.engine],
      parts: await this.storedSession.partsOf(session),
    };
  }
}
