import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { transpileLibrary } from './transpile.js';

/** The library as an application has it that installed these packages beside it, and no others. */
export class Installation {
  private readonly directory = mkdtempSync(join(tmpdir(), 'nest-sessions-installation-'));

  constructor(packages: readonly string[]) {
    const { dependencies } = JSON.parse(readFileSync('libs/session/package.json', 'utf8')) as {
      dependencies: object;
    };
    for (const name of [...packages, ...Object.keys(dependencies)]) {
      this.link(resolve('node_modules', name), join('node_modules', name));
    }
    transpileLibrary(join(this.directory, 'library/dist'));
    this.write('library/package.json', readFileSync('libs/session/package.json', 'utf8'));
    this.link(join(this.directory, 'library'), 'node_modules/nest-sessions');
  }

  /** Runs this text as a module. Resolves with its output; rejects when it fails. */
  async run(program: string): Promise<string> {
    this.write('program.mjs', program);
    // A real path, as that of the library has to be, so that both find the same packages.
    const { stdout } = await promisify(execFile)(process.execPath, [join(this.directory, 'program.mjs')]);
    return stdout;
  }

  remove(): void {
    rmSync(this.directory, { recursive: true });
  }

  private write(path: string, text: string): void {
    mkdirSync(dirname(join(this.directory, path)), { recursive: true });
    writeFileSync(join(this.directory, path), text);
  }

  private link(target: string, path: string): void {
    mkdirSync(dirname(join(this.directory, path)), { recursive: true });
    symlinkSync(target, join(this.directory, path), 'dir');
  }
}
