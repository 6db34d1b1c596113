/** What an environment variable says, or this. */
export function numberFrom(variable: string, fallback: number): number {
  const value = Number(process.env[variable] ?? fallback);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Error(`${variable} must be a whole number above zero.`);
}
