// A command of the README, as it is written there: `node .ci/door/readme-command.mjs 'npm test'` prints the one that
// runs `npm test`.
import { readFileSync } from 'node:fs';

export function readmeCommand(script, readme = 'README.md') {
  const blocks = [...readFileSync(readme, 'utf8').matchAll(/^```sh\n(.*?)^```$/gms)].map(
    ([, block]) => block,
  );
  const commands = blocks.flatMap((block) => block.split('\n')).map((line) => line.replace(/#.*/, '').trim());
  const command = commands.find((line) => line.split(' && ').includes(script));
  if (command === undefined) throw new Error(`${readme} has no command that runs ${script}.`);
  return command;
}

if (process.argv[1] === import.meta.filename) console.log(readmeCommand(process.argv[2]));
