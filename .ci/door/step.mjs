/** Does a piece of work, and prints its title and the seconds that it took. */
export async function step(title, work) {
  process.stdout.write(`${title} … `);
  const began = performance.now();
  try {
    const result = await work();
    console.log(`${Math.round((performance.now() - began) / 1000)} s`);
    return result;
  } catch (error) {
    console.log('FAILED');
    throw error;
  }
}
