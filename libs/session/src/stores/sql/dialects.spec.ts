import { numberedStatement, positionalStatement } from './dialects.js';

const template = `
  UPDATE t SET a = ⟨two⟩,
    b = ⟨one⟩ || 'x:y'
  WHERE a = ⟨two⟩`;

it('numbers values, and sends each once', () => {
  expect(numberedStatement(template)).toEqual({
    text: `UPDATE t SET a = $1, b = $2 || 'x:y' WHERE a = $1`,
    parameters: ['two', 'one'],
  });
});

it('lists values in the order of their appearance, as often as they appear', () => {
  expect(positionalStatement(template)).toEqual({
    text: `UPDATE t SET a = ?, b = ? || 'x:y' WHERE a = ?`,
    parameters: ['two', 'one', 'two'],
  });
});
