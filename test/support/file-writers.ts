import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';
// As a whole: an import of the file itself would begin to wait for messages here.
import type { WriterTask } from './file-writer.js';

const ENTRY = 'test/support/file-writer.ts';
const SOURCES = ['libs/session/src/session.errors.ts', ENTRY];
const FOLDERS = ['libs/session/src/stores', 'libs/session/src/stores/file'];

/** Puts the writer and what it imports of the library, as JavaScript, into a directory, and returns its path there. */
export function buildWriter(target: string): string {
  const inFolders = FOLDERS.flatMap((folder) => readdirSync(folder).map((file) => join(folder, file)));
  for (const path of [...SOURCES, ...inFolders]) {
    if (!path.endsWith('.ts') || path.endsWith('.spec.ts')) continue;
    const { outputText } = ts.transpileModule(readFileSync(path, 'utf8'), {
      compilerOptions: {
        target: ts.ScriptTarget.ES2023,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true,
      },
    });
    const output = join(target, path.replace(/\.ts$/, '.js'));
    mkdirSync(dirname(output), { recursive: true });
    writeFileSync(output, outputText);
  }
  writeFileSync(join(target, 'package.json'), '{ "type": "module" }');
  return join(target, ENTRY.replace(/\.ts$/, '.js'));
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
