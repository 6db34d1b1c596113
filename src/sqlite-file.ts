import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** The file that `sqlite:<file>` names; its folder is made. */
export function sqliteFile(url: string): string {
  const file = url.replace(/^sqlite:(\/\/)?/, '');
  mkdirSync(dirname(file), { recursive: true });
  return file;
}

/** Renamed into place, so that a crash in the middle of the writing leaves the old file whole. */
export function replaceFile(file: string, content: Uint8Array): void {
  writeFileSync(`${file}.new`, content);
  renameSync(`${file}.new`, file);
}
