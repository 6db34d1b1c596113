import { SessionError } from '../../session.errors.js';
import { type RecordCodec } from '../record-codec.js';
import { systemErrorCode } from './file-errors.js';
import { type EndEntry } from './file-format.js';
import { encodeSignpost, type FileState } from './file-state.js';
import { fold, untilReplaced } from './seal.js';
import { type SessionDirectory } from './session-directory.js';
import { type NewEntry, type SessionFile } from './session-file.js';
import { SIGNPOST_KEPT } from './sweep.js';

/** A file is folded when what is in it beside the snapshot is longer than this (most of a block of the disk) … */
const SHORT_LOG = 3500;
/** … and than this part of the snapshot. */
const LOG_SHARE = 1 / 4;

type EndCondition = Pick<EndEntry, 'onlyExpired' | 'onlyUser'>;

/** Writes to sessions that are there, whoever else does at the same time. All of it is false where there is none. */
export class SessionWrites {
  constructor(
    private readonly directory: SessionDirectory,
    private readonly codec: RecordCodec,
  ) {}

  /** @param entry stated anew for every file that it is tried on */
  change(name: string, entry: () => NewEntry, line = ''): Promise<boolean> {
    return this.onFile(name, async (file) => {
      const { outcome, state } = file.append(entry(), line);
      if (outcome !== 'applied') return outcome === 'sealed' ? 'sealed' : false;
      await this.directory.flush(file);
      file.noteDeadline(state.head.expiresAt);
      if (wantsFolding(state)) await quietly(() => fold(this.directory, this.codec, file, state));
      return true;
    });
  }

  /**
   * One append decides: the file has got its second name before, and under that name it lives from then on.
   * @throws an error when something has the new name; nothing has changed then
   */
  move(name: string, newName: string, entry: () => NewEntry, line: string): Promise<boolean> {
    return this.onFile(name, async (file) => {
      if (!(await this.directory.addName(file, newName))) return 'replaced';
      const tag = this.tryMove(file, newName, entry(), line);
      const { outcome, state } = file.outcomeOf(tag);
      if (outcome !== 'applied') {
        this.directory.remove(newName);
        return outcome === 'sealed' ? 'sealed' : false;
      }
      await this.directory.flush(file);
      file.noteDeadline(state.head.expiresAt);
      await quietly(() => this.leaveSignpost(name, state));
      return true;
    });
  }

  /** @param id of the session, which is then followed to the name that a concurrent move has given it */
  end(name: string, condition: EndCondition, id?: string): Promise<boolean> {
    return this.onFile(name, async (file) => {
      const { outcome, state } = file.append({ op: 'end', at: Date.now(), ...condition });
      if (outcome === 'sealed') return 'sealed';
      if (outcome === 'refused') {
        const { head } = state;
        return head.name !== name && head.id === id ? this.end(head.name, condition, id) : false;
      }
      await this.directory.flush(file);
      this.directory.remove(name);
      return true;
    });
  }

  /** Opens a session's file for a step, and again for as long as another one takes its place. False: there is none. */
  private async onFile(
    name: string,
    step: (file: SessionFile) => Promise<boolean | 'sealed' | 'replaced'>,
  ): Promise<boolean> {
    for (;;) {
      const file = this.directory.open(name);
      if (file === null) return false;
      try {
        const result = await step(file);
        if (typeof result === 'boolean') return result;
        await untilReplaced(this.directory, this.codec, file);
      } finally {
        file.close();
      }
    }
  }

  private tryMove(file: SessionFile, newName: string, entry: NewEntry, line: string): string {
    try {
      return file.write(entry, line);
    } catch (error) {
      this.directory.remove(newName);
      throw error;
    }
  }

  /** So that a session is found by a request that knows only its old key, above all by one that ends it. */
  private async leaveSignpost(name: string, state: FileState): Promise<void> {
    const text = encodeSignpost(state, name);
    const signpost = await this.directory.writeTemporary(text, Date.now() + SIGNPOST_KEPT);
    await this.directory.replace(signpost, name);
  }
}

function wantsFolding({ size, snapshot }: FileState): boolean {
  return size - snapshot.length > Math.max(SHORT_LOG, snapshot.length * LOG_SHARE);
}

/** For what is done after a write and can wait for the next one: its failure must not look like that of the write. */
async function quietly(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (systemErrorCode(error) === undefined && !(error instanceof SessionError)) throw error;
  }
}
