/** Written down, because what reads package.json as an ES module does not run as CommonJS. A test compares the two. */
export const VERSION = '0.1.0';
