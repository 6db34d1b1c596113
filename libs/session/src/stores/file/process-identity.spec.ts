import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { hasGone, LEASE, thisProcess } from './process-identity.js';

const [home, , start] = thisProcess.split('/');
const ownerOf = (pid: number | undefined): string => `${home}/${pid}/${start}`;

describe('hasGone', () => {
  it('trusts a process that lives, itself first', () => {
    expect(hasGone(thisProcess, Date.now())).toBe(false);
  });

  it('sees that a process has ended', () => {
    const { pid } = spawnSync(process.execPath, ['-v']);
    expect(hasGone(ownerOf(pid), Date.now())).toBe(true);
  });

  it('takes nobody for an earlier process of the same number', async () => {
    const child = spawn(process.execPath, ['-e', 'process.stdin.resume()']);
    await once(child, 'spawn');
    // On other systems than Linux only the lease tells them apart.
    expect(hasGone(ownerOf(child.pid), Date.now())).toBe(process.platform === 'linux');
    child.kill();
    await once(child, 'exit');
    expect(hasGone(`${home}/${process.pid}/1`, Date.now())).toBe(process.platform === 'linux');
  });

  it('gives processes of another container, and any other that hangs, a while', () => {
    for (const owner of [thisProcess, `elsewhere/1/${start}`]) {
      expect(hasGone(owner, Date.now() - LEASE + 1000)).toBe(false);
      expect(hasGone(owner, Date.now() - LEASE - 1000)).toBe(true);
    }
  });
});
