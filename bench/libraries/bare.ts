import { Controller, Get } from '@nestjs/common';
import { type Libraries, nextTurn } from '../application.js';
import { BARE } from '../contestants.js';

/** The same answers without any session. */
@Controller()
class BareController {
  @Get('untouched')
  untouched() {
    return { ok: true };
  }

  @Get('read')
  read() {
    return { name: 'Ada Lovelace' };
  }

  @Get('write')
  write() {
    return { turn: nextTurn() };
  }
}

export const libraries: Libraries = {
  [BARE]: () => ({ controller: BareController }),
  'bare again': () => ({ controller: BareController }),
};
