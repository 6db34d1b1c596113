import {
  Body,
  Controller,
  Get,
  Inject,
  InternalServerErrorException,
  Module,
  Param,
  Post,
  Query,
  Redirect,
} from '@nestjs/common';
import { Session } from 'nest-sessions';
import { Checkpoints } from './checkpoint.js';

interface Visit {
  secret: string;
  count: number;
  items: number[];
  [key: `key${number}`]: number;
}

export interface Given {
  key?: `key${number}`;
  user?: string;
  expiry?: number;
  item?: number;
}

const actions: Record<string, (session: Session<Visit>, given: Given) => unknown> = {
  start: (session) => (session.secret = 'of ada'),
  login: (session, { user = 'ada' }) => session.login(user),
  logout: (session) => session.logout(),
  read: (session) => session.secret,
  write: (session, { key = 'key0', item = 1 }) => session.set(key, item),
  rotate: (session) => session.cycleKey(),
  expire: (session, { expiry = 0 }) => session.setExpiry(expiry),
  increment: (session) => session.increment('count'),
  push: (session, { item = 0 }) => session.push('items', item),
  'write and fail': (session) => {
    session.secret = 'lost';
    throw new InternalServerErrorException();
  },
  'rotate and fail': (session) => {
    session.cycleKey();
    session.secret = 'lost';
    throw new InternalServerErrorException();
  },
  'logout and fail': (session) => {
    session.logout();
    throw new InternalServerErrorException();
  },
};

@Controller('races')
class RaceController {
  constructor(@Inject(Checkpoints) private readonly checkpoints: Checkpoints) {}

  @Get()
  look(@Session() session: Session<Visit>) {
    return { ...session.toJSON(), userId: session.userId };
  }

  @Post('act/:action')
  async act(
    @Session() session: Session<Visit>,
    @Param('action') action: string,
    @Query('at') checkpoint: string,
    @Body() given: Given,
  ) {
    await this.checkpoints.get(checkpoint)?.wait();
    actions[action]?.(session, given);
    return {};
  }

  @Post('redirect')
  @Redirect('/races', 303)
  writeAndRedirect(@Session() session: Session<Visit>, @Body() { item = 0 }: Given) {
    session.key1 = item;
  }
}

@Module({ controllers: [RaceController], providers: [Checkpoints], exports: [Checkpoints] })
export class RacesModule {}
