/** A browser, as far as it is needed: it keeps its one cookie, and fills in forms. */
export class Visitor {
  #cookie = '';
  #url;

  constructor(url) {
    this.#url = url;
  }

  get(path) {
    return this.#request(path, {});
  }

  post(path, fields = {}) {
    return this.#request(path, { method: 'POST', body: new URLSearchParams(fields) });
  }

  async #request(path, options) {
    const headers = { cookie: this.#cookie };
    const response = await fetch(`${this.#url}${path}`, { ...options, headers, redirect: 'manual' });
    const [set] = response.headers.getSetCookie();
    if (set) this.#cookie = set.split(';')[0];
    return response;
  }
}

/** Is there a page? */
export function answers(url) {
  return fetch(url).then(
    ({ ok }) => ok,
    () => false,
  );
}
