const moments = new Intl.DateTimeFormat('en-GB', { dateStyle: 'long', timeStyle: 'medium', timeZone: 'UTC' });
const shortMoments = new Intl.DateTimeFormat('en-GB', {
  dateStyle: 'medium',
  timeStyle: 'short',
  timeZone: 'UTC',
});
const prices = new Intl.NumberFormat('en', { style: 'currency', currency: 'EUR' });

/** In UTC, because without a script the server does not learn the visitor's time zone. */
export function formatMoment(moment: Date): string {
  return `${moments.format(moment)} UTC`;
}

/** Where there is little room for one, and a minute is near enough. */
export function formatShortMoment(moment: Date): string {
  return `${shortMoments.format(moment)} UTC`;
}

export function formatPrice(cents: number): string {
  return prices.format(cents / 100);
}

/** The two largest units of so many seconds: `13 days 4 hours`. */
export function formatDuration(seconds: number): string {
  const units: [string, number][] = [
    ['day', Math.floor(seconds / 86_400)],
    ['hour', Math.floor(seconds / 3600) % 24],
    ['minute', Math.floor(seconds / 60) % 60],
    ['second', Math.floor(seconds) % 60],
  ];
  const parts = units
    .filter(([, count]) => count > 0)
    .slice(0, 2)
    .map(([unit, count]) => `${count} ${unit}${count === 1 ? '' : 's'}`);
  return parts.join(' ') || '0 seconds';
}
