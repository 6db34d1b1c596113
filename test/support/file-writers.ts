import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
// As a whole: an import of the file itself would begin to wait for messages here.
import type { WriterTask } from './file-writer.js';
import { transpile, transpileLibrary } from './transpile.js';

const ENTRY = 'test/support/file-writer.ts';

/** Puts the writer and the library that it imports, as JavaScript, into a directory, and returns its path there. */
export function buildWriter(target: string): string {
  transpileLibrary(join(target, 'libs/session/src'));
  writeFileSync(join(target, 'package.json'), '{ "type": "module" }');
  return transpile(ENTRY, join(target, ENTRY));
}

/** A process that has its task and waits for the word. */
export class Writer {
  private constructor(
    private readonly child: ChildProcess,
    readonly task: WriterTask,
  ) {}

  static async start(script: string, task: WriterTask): Promise<Writer> {
    writeFileSync(task.acknowledged, '');
    const child = fork(script, { execArgv: [] });
    child.send(task);
    await once(child, 'message');
    return new Writer(child, task);
  }

  /** Resolves with what came of the task; undefined when the process was killed. */
  async go(): Promise<number | undefined> {
    let result: number | undefined;
    this.child.once('message', (message: { result: number }) => (result = message.result));
    const exited = once(this.child, 'exit');
    this.child.send('go');
    await exited;
    return result;
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }

  /** What the store has acknowledged: the numbers of the writes, by session id. */
  acknowledged(): Map<string, number[]> {
    const writes = new Map<string, number[]>();
    for (const line of readFileSync(this.task.acknowledged, 'utf8').split('\n').filter(Boolean)) {
      const [id = '', n] = line.split(' ');
      writes.set(id, [...(writes.get(id) ?? []), Number(n)]);
    }
    return writes;
  }
}
