// Commands of the README, as they are written there: `node .ci/door/readme-command.mjs 'npm test'` prints the one that
// runs `npm test`.
import { readFileSync } from 'node:fs';

/** What installs the package and its database engine on this version of Nest. */
export function readmeInstallation(nest, readme = 'README.md') {
  const commands = commandsOf(readme).filter(
    ({ command, comment }) =>
      command.startsWith('npm install ') && !/^Nest \d+/.test(comment.replace(`Nest ${nest}`, '')),
  );
  if (commands.length !== 2) throw new Error(`${readme} does not tell how to install on Nest ${nest}.`);
  return commands.map(({ command }) => command);
}

export function readmeCommand(script, readme = 'README.md') {
  const command = commandsOf(readme)
    .map((line) => line.command)
    .find((line) => line.split(' && ').includes(script));
  if (command === undefined) throw new Error(`${readme} has no command that runs ${script}.`);
  return command;
}

function commandsOf(readme) {
  const blocks = [...readFileSync(readme, 'utf8').matchAll(/^```sh\n(.*?)^```$/gms)].map(
    ([, block]) => block,
  );
  return blocks
    .flatMap((block) => block.split('\n'))
    .map((line) => {
      const [command, comment = ''] = line.split('#').map((part) => part.trim());
      return { command, comment };
    });
}

if (process.argv[1] === import.meta.filename) console.log(readmeCommand(process.argv[2]));
