#!/usr/bin/env node
import { main } from './cli.main.js';

const interrupt = new AbortController();
// Only once: a second Ctrl-C ends the process at once, as usual.
process.once('SIGINT', () => interrupt.abort());

process.exitCode = await main(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: interrupt.signal,
});
// The application may have left a connection open; a command that is done must not hang on it.
setTimeout(() => process.exit(), 1000).unref();
