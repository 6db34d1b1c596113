import { html } from './admin-page.js';

describe('html', () => {
  it('escapes what is put in, in text and in attributes', () => {
    const evil = `"><script>alert('&')</script>`;
    expect(html`<a href="?user=${evil}">${evil}</a>`.text).toBe(
      '<a href="?user=&#34;&#62;&#60;script&#62;alert(&#39;&#38;&#39;)&#60;/script&#62;">' +
        '&#34;&#62;&#60;script&#62;alert(&#39;&#38;&#39;)&#60;/script&#62;</a>',
    );
  });

  it('takes HTML as it is, and nothing for null', () => {
    const items = ['<1>', '2'].map((item) => html`<li>${item}</li>`);
    expect(
      html`<ul>
          ${items}
        </ul>
        ${null}${3}`.text.replaceAll(/\s/g, ''),
    ).toBe('<ul><li>&#60;1&#62;</li><li>2</li></ul>3');
  });
});
