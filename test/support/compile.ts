import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
/** Where an application has the library. Its package.json is the real one; what that points to is in memory only. */
const installed = join(root, 'node_modules/nest-sessions');
const dist = join(installed, 'dist');
/** Parsed once for all programs: the declarations of Nest and Node are the bulk of the work. */
const parsed = new Map<string, ts.SourceFile | undefined>();

/** The declarations of the library as they are published, by path: made of its sources, by the options of its build. */
const published: ReadonlyMap<string, string> = declarations();

/**
 * What the compiler has to say about these files, with the options of this project and the types that an application
 * gets with the package. A file is given by its path, or by a path and a text that need not exist on disk; all of them
 * make one program.
 */
export function compile(files: Record<string, string | undefined>): string[] {
  const texts = new Map(Object.entries(files).map(([path, text]) => [resolve(root, path), text]));
  const options = { ...configuration('tsconfig.json').options, paths: {}, noEmit: true };
  const inMemory = (path: string): string | undefined => texts.get(path) ?? published.get(path);
  const program = ts.createProgram([...texts.keys()], options, hostOf(options, inMemory));
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

function configuration(file: string): ts.ParsedCommandLine {
  const path = resolve(root, file);
  const { config } = ts.readConfigFile(path, (name) => ts.sys.readFile(name)) as { config: object };
  return ts.parseJsonConfigFileContent(config, ts.sys, dirname(path));
}

function declarations(): Map<string, string> {
  const { fileNames, options } = configuration('libs/session/tsconfig.lib.json');
  // Whether the sources are free of errors is what `npm run typecheck` tells.
  const emitting = { ...options, outDir: dist, emitDeclarationOnly: true, noCheck: true };
  const program = ts.createProgram(
    fileNames,
    emitting,
    hostOf(emitting, () => undefined),
  );
  const texts = new Map<string, string>();
  program.emit(undefined, (path, text) => texts.set(path, text));
  return texts;
}

function isBuild(path: string): boolean {
  return path.startsWith(dist);
}

/** The disk, with the texts that are in memory on top of it. A build of the library that is on disk does not count. */
function hostOf(
  options: ts.CompilerOptions,
  inMemory: (path: string) => string | undefined,
): ts.CompilerHost {
  const disk = ts.createCompilerHost(options);
  return {
    ...disk,
    fileExists: (path) => inMemory(path) !== undefined || (!isBuild(path) && disk.fileExists(path)),
    readFile: (path) => inMemory(path) ?? (isBuild(path) ? undefined : disk.readFile(path)),
    directoryExists: (path) => isBuild(path) || ts.sys.directoryExists(path),
    realpath: (path) => (path.startsWith(installed) ? path : (ts.sys.realpath?.(path) ?? path)),
    getSourceFile: (path, language, ...rest) => {
      const text = inMemory(path);
      if (text !== undefined && !isBuild(path)) return ts.createSourceFile(path, text, language);
      if (!parsed.has(path)) {
        parsed.set(
          path,
          text === undefined
            ? disk.getSourceFile(path, language, ...rest)
            : ts.createSourceFile(path, text, language),
        );
      }
      return parsed.get(path);
    },
  };
}
