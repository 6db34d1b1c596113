import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Options, transformSync } from '@swc/core';

const LIBRARY = 'libs/session/src';
/** As the library is compiled for its users: imports of types alone go, and no others. */
const options: Options = {
  swcrc: false,
  module: { type: 'es6' },
  jsc: {
    target: 'es2023',
    parser: { syntax: 'typescript', decorators: true },
    transform: {
      legacyDecorator: true,
      decoratorMetadata: true,
      useDefineForClassFields: false,
      verbatimModuleSyntax: true,
    },
  },
};

/** Puts the library, as JavaScript, into a directory. In a second, because types are checked elsewhere. */
export function transpileLibrary(target: string): void {
  for (const path of readdirSync(LIBRARY, { recursive: true, encoding: 'utf8' })) {
    if (path.endsWith('.ts') && !path.endsWith('.spec.ts'))
      transpile(join(LIBRARY, path), join(target, path));
  }
}

/** Puts a source file, as JavaScript, where `target` says, and returns its path there. */
export function transpile(source: string, target: string): string {
  const output = target.replace(/\.ts$/, '.js');
  mkdirSync(dirname(output), { recursive: true });
  writeFileSync(output, transformSync(readFileSync(source, 'utf8'), options).code);
  return output;
}
