import { match, type MatchFunction } from 'path-to-regexp';
import { SessionConfigError } from '../session.errors.js';

/**
 * Tells of a path whether one of these patterns matches it.
 * @throws SessionConfigError for what is no pattern
 */
export function compileExclude(patterns: string[]): (path: string) => boolean {
  const matchers = patterns.map((pattern, index): MatchFunction<object> => {
    try {
      // Decoding would throw at paths such as `/%zz`, and exclusion needs no parameters.
      return match(pattern, { decode: false });
    } catch {
      throw new SessionConfigError(
        `exclude[${index}]`,
        `is not a path pattern: ${JSON.stringify(pattern)}. Write it like '/health' or '/assets/*path'.`,
      );
    }
  });
  return matchers.length === 0 ? () => false : (path) => matchers.some((matches) => matches(path) !== false);
}
