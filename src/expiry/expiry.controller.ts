import { Body, Controller, Get, Post, Redirect, Render } from '@nestjs/common';
import { Session } from 'nest-sessions';
import { formatDuration, formatMoment } from '../format.js';

/** Seconds. */
const HALF_AN_HOUR = 1800;

@Controller('expiry')
export class ExpiryController {
  @Get()
  @Render('expiry')
  show(@Session() session: Session) {
    const { createdAt, lastSeenAt, expiresAt } = session;
    const inForce = choiceInForce(session);
    return {
      title: 'Expiry',
      inForce: { [inForce]: true },
      facts: [
        {
          call: 'getExpiryAge()',
          value: `${session.getExpiryAge()} seconds`,
          meaning: `the session ends ${formatDuration(session.getExpiryAge())} after a use of now`,
        },
        { call: 'getExpiryDate()', value: formatMoment(session.getExpiryDate()), meaning: 'that moment' },
        {
          call: 'getExpireAtBrowserClose()',
          value: String(session.getExpireAtBrowserClose()),
          meaning: 'does the cookie go when the browser is closed?',
        },
        stored('createdAt', createdAt, 'first saved'),
        stored('lastSeenAt', lastSeenAt, 'last saved, or last use that the store was told of'),
        stored('expiresAt', expiresAt, 'when the stored session ends unless it is used again'),
      ],
      moment: inputValue(inForce === 'moment' ? session.getExpiryDate() : new Date(Date.now() + 3_600_000)),
    };
  }

  @Post('idle')
  @Redirect('/expiry', 303)
  endWhenIdle(@Session() session: Session) {
    session.setExpiry('30m');
    session.addFlash('success', 'The session now ends 30 minutes after its last use.');
  }

  @Post('moment')
  @Redirect('/expiry', 303)
  endAtMoment(@Session() session: Session, @Body('moment') input: string | undefined) {
    const moment = new Date(`${input}Z`);
    if (!(moment.getTime() > Date.now())) {
      session.addFlash('error', 'Choose a moment in the future.');
      return;
    }
    session.setExpiry(moment);
    session.addFlash('success', `The session now ends on ${formatMoment(moment)}.`);
  }

  @Post('browser')
  @Redirect('/expiry', 303)
  endWithBrowser(@Session() session: Session) {
    session.setExpiry(0);
    session.addFlash('success', 'The session now ends when you close the browser.');
  }

  @Post('default')
  @Redirect('/expiry', 303)
  endAsConfigured(@Session() session: Session) {
    session.setExpiry(null);
    session.addFlash('success', 'The session now lives as long as the options of the module say.');
  }
}

/** Which of the choices holds, by what the session itself says. */
function choiceInForce(session: Session): 'idle' | 'moment' | 'browser' | 'default' {
  if (session.getExpireAtBrowserClose()) return 'browser';
  const [ofNow, ofEarlier] = [Date.now(), 0].map((time) =>
    session.getExpiryDate({ modification: new Date(time) }).getTime(),
  );
  // Everything else is counted from the last use.
  if (ofNow === ofEarlier) return 'moment';
  return session.getExpiryAge() === HALF_AN_HOUR ? 'idle' : 'default';
}

function stored(call: string, moment: Date | null, meaning: string) {
  return { call, value: moment ? formatMoment(moment) : 'null', meaning };
}

/** As `<input type="datetime-local">` wants it. */
function inputValue(moment: Date): string {
  return moment.toISOString().slice(0, 16);
}
