import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const cache = new Map<string, ts.SourceFile | undefined>();

/**
 * What the compiler has to say about these files, with the project's own options. A file is given by its path, or by a
 * path and a text that need not exist on disk; all of them make one program.
 */
export function compile(files: Record<string, string | undefined>): string[] {
  const { config } = ts.readConfigFile(resolve(root, 'tsconfig.json'), (path) => ts.sys.readFile(path)) as {
    config: object;
  };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const texts = new Map(Object.entries(files).map(([path, text]) => [resolve(root, path), text]));
  const host = ts.createCompilerHost(options);
  const disk = ts.createCompilerHost(options);
  host.fileExists = (path) => texts.has(path) || disk.fileExists(path);
  host.readFile = (path) => texts.get(path) ?? disk.readFile(path);
  host.getSourceFile = (path, language, ...rest) => {
    const text = texts.get(path);
    if (text !== undefined) return ts.createSourceFile(path, text, language);
    // Parsed once for all programs: the declarations of Nest and Node are the bulk of the work.
    if (!cache.has(path)) cache.set(path, disk.getSourceFile(path, language, ...rest));
    return cache.get(path);
  };
  const program = ts.createProgram([...texts.keys()], { ...options, noEmit: true }, host);
  return [...texts.keys()].flatMap((path) => {
    const source = program.getSourceFile(path);
    if (!source) return [`${path}: not found`];
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map(
      (diagnostic) => {
        const { line } = source.getLineAndCharacterOfPosition(diagnostic.start ?? 0);
        return `${path.slice(root.length + 1)}:${line + 1}: ${ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n')}`;
      },
    );
  });
}
