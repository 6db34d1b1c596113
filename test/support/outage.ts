import { setTimeout } from 'node:timers/promises';
import { Controller, Get, Post, type Type } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Session, type SessionOptions } from 'nest-sessions';
import { databaseEngine } from 'nest-sessions/database';
import { type DataSourceOptions } from 'typeorm';
import { type Platform, type RunningApp, silent, startApp } from './app.js';
import { exchange, sessionCookie } from './wire.js';

@Controller()
export class VisitorController {
  @Get('seen')
  seen(@Session() session: Session<{ visits: number }>) {
    return session.visits ?? 0;
  }

  @Post('visit')
  visit(@Session() session: Session<{ visits: number }>) {
    return session.increment('visits');
  }
}

/** An application with its sessions in this database, and nothing in its data source that limits anything. */
export function appOnDatabase(
  platform: Platform,
  database: DataSourceOptions,
  options: SessionOptions,
  controller: Type = VisitorController,
): Promise<RunningApp> {
  return startApp(platform, {
    imports: [
      TypeOrmModule.forRoot({
        ...database,
        autoLoadEntities: true,
        synchronize: true,
      }),
    ],
    engine: databaseEngine(),
    options,
    controllers: [controller],
    logger: silent,
  });
}

export interface Outage {
  strike: () => void;
  mend: () => void;
  /** Milliseconds that it lasts at least. */
  length: number;
}

/** More than a pool has connections. */
const VISITORS = 15;

/**
 * Visitors who go on through an outage, and after it until all of them are served.
 * @returns with which status they were answered in the outage, how long after it all were served (milliseconds), and what
 * their sessions hold
 */
export async function visitThrough(
  { url }: RunningApp,
  { strike, mend, length }: Outage,
): Promise<{ statuses: number[]; servedAfter: number; visits: string[] }> {
  const send = (method: 'GET' | 'POST', path: string, cookie?: string) =>
    exchange(`${url}${path}`, { method, headers: cookie === undefined ? {} : { Cookie: cookie } }).answer;
  const arrive = async (): Promise<string> => {
    const cookie = sessionCookie(await send('POST', '/visit'));
    // A busy machine may take longer for the first connections than the store may.
    return cookie ?? arrive();
  };
  const cookies = await Promise.all(Array.from({ length: VISITORS }, arrive));

  strike();
  const struckAt = performance.now();
  const statuses = new Set<number>();
  // Until every connection has been tried, and others are being made.
  for (let round = 0; round < 3 || performance.now() - struckAt < length; round += 1) {
    const answers = await Promise.all(
      cookies.map((cookie, n) => (n % 2 === 0 ? send('GET', '/seen', cookie) : send('POST', '/visit'))),
    );
    for (const { status } of answers) statuses.add(status);
  }
  const underWay = cookies.map((cookie) => send('GET', '/seen', cookie));
  await setTimeout(200);
  mend();
  const mendedAt = performance.now();
  await Promise.all(underWay);
  for (;;) {
    const answers = await Promise.all(cookies.map((cookie) => send('GET', '/seen', cookie)));
    const servedAfter = performance.now() - mendedAt;
    const isServed = answers.every(({ status }) => status === 200);
    if (!isServed && servedAfter < 60_000) continue;
    return { statuses: [...statuses], servedAfter, visits: answers.map(({ body }) => body.toString()) };
  }
}
