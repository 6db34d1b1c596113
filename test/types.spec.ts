import { compile } from './support/compile.js';

/** The files hold the expectations: `expectTypeOf` for what must be, `@ts-expect-error` for what must not. */
describe('the types of a session', () => {
  it('hold while no data are declared, and by type argument', () => {
    expect(compile({ 'test/types/undeclared.ts': undefined })).toEqual([]);
  });

  it('hold for declared data', () => {
    expect(compile({ 'test/types/declared.ts': undefined })).toEqual([]);
  });
});
