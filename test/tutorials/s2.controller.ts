import { Controller, Get, Query } from '@nestjs/common';
import { Session } from 'nest-sessions';

interface Student {
  sname: string;
  semail: string;
}

/** Set, get and delete, and what happens with keys that are not there. */
@Controller()
export class S2Controller {
  @Get('set')
  set(@Session() session: Session<Student>) {
    session.sname = 'Grace';
    session.semail = 'grace@example.org';
    return 'The session has been set';
  }

  @Get('get')
  get(@Session() session: Session<Student>) {
    return `${session.get('sname', 'None')} ${session.get('semail') ?? 'nobody'}`;
  }

  @Get('strict')
  strict(@Session() session: Session<Student>) {
    return session.getOrThrow('sname');
  }

  @Get('delete')
  delete(@Session() session: Session<Student>) {
    if ('sname' in session) delete session.sname;
    if (session.has('semail')) session.delete('semail');
    return 'The session data are gone';
  }

  @Get('flush')
  flush(@Session() session: Session<Student>) {
    session.flush();
    return 'The session is gone';
  }

  @Get('modified')
  modified(@Session() session: Session<Student>, @Query('key') key: 'sname') {
    const removed = session.delete(key);
    return { removed, modified: session.modified, accessed: session.accessed };
  }

  /** A page next to it that has nothing to do with sessions. */
  @Get('admin')
  admin() {
    return 'admin';
  }
}
