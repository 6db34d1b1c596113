import { type SessionSummary } from '../management/sessions.js';
import { type AdminQuery, type Overview } from './session-admin.js';

/** What the page says of the form that led to it: how many sessions have ended. */
type Ended = number | null;

/** @param base the last part of the page's path, to which its links are relative */
export function adminPage(base: string, query: AdminQuery, overview: Overview, ended: Ended): string {
  const { user } = query;
  return `<!doctype html>\n${
    html`<html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>Sessions</title>
        <link rel="stylesheet" href="${base}/style.css" />
        <script src="${base}/live.js" defer></script>
      </head>
      <body data-events="${base}/events${searchOf(query)}">
        <header>
          <h1>Sessions</h1>
          <p id="state" role="status">as of ${momentOf(new Date())}</p>
        </header>
        <main>
          ${ended === null ? null : html`<p class="message" role="status">Ended: ${countOf(ended)}.</p>`}
          <dl id="figures">${figures(overview)}</dl>
          <form class="search" method="get" role="search">
            <label for="user">User id</label>
            <input id="user" name="user" value="${user}" autocomplete="off" spellcheck="false" />
            <button>Search</button>
            ${user === '' ? null : html`<a href="?">Everybody</a>`}
          </form>
          <div id="list">${list(base, query, overview)}</div>
        </main>
      </body>
    </html>`.text
  }\n`;
}

/** @param overview null while the store does not answer */
export function figures(overview: Overview | null): Html {
  if (overview === null)
    return html`<div class="down">
      <dt>Store</dt>
      <dd>does not answer</dd>
    </div>`;
  const { live, loggedIn, latency, sweepLag } = overview;
  return html` <div>
      <dt>Live sessions</dt>
      <dd>${live ?? 'not known'}</dd>
    </div>
    <div>
      <dt>Logged in</dt>
      <dd>${loggedIn ?? 'not known'}</dd>
    </div>
    <div>
      <dt>The store answers in</dt>
      <dd>${latency < 10 ? latency.toFixed(1) : latency.toFixed(0)} ms</dd>
    </div>
    <div>
      <dt>Last clearing</dt>
      <dd>${sweepLag === null ? 'not known' : `${durationOf(sweepLag)} ago`}</dd>
    </div>`;
}

export function list(base: string, query: AdminQuery, { sessions, total, next }: Overview): Html {
  const { user, after } = query;
  if (sessions === null) {
    return html`<p class="empty">
      ${
        user === ''
          ? 'This engine cannot list all sessions. Search for a user.'
          : "This engine cannot list a user's sessions."
      }
    </p>`;
  }
  const more = next === null ? null : html`<p><a href="${searchOf({ user, after: next })}">More</a></p>`;
  if (sessions.length === 0) {
    return html`<p class="empty">${user === '' ? nobody(after, next) : 'This user is logged in nowhere.'}</p>
      ${more}`;
  }
  return html` <table>
      <thead>
        <tr>
          <th>User</th>
          <th>Logged in</th>
          <th>Last used</th>
          <th>Ends</th>
          <th>Device</th>
          <th>Session id</th>
          <th></th>
        </tr>
      </thead>
      <tbody>
        ${sessions.map((session) => row(base, query, session))}
      </tbody>
    </table>
    ${
      total === null || total === sessions.length
        ? null
        : html`<p>The ${sessions.length} of ${total} sessions that were used last.</p>`
    }
    ${more}
    ${
      user === ''
        ? null
        : html`<form method="post" action="${base}/end-all${searchOf({ user })}">
            <button class="all">End all sessions of ${user}</button>
          </form>`
    }`;
}

function nobody(after: string, next: string | null): string {
  if (next !== null) return 'None of the sessions looked at has a login. There are more sessions.';
  return after === '' ? 'Nobody is logged in here.' : 'None of the remaining sessions has a login.';
}

function row(base: string, { user }: AdminQuery, session: SessionSummary): Html {
  const { id, userId, authenticatedAt, createdAt, lastSeenAt, expiresAt, remembered, device } = session;
  const whose = userId ?? '';
  return html` <tr data-session="${id}">
    <td><a href="${searchOf({ user: whose })}">${whose}</a></td>
    <td>${time(authenticatedAt ?? createdAt)}${remembered ? ' (remembered)' : null}</td>
    <td>${time(lastSeenAt)}</td>
    <td>${time(expiresAt)}</td>
    <td>${device?.userAgent ?? ''} ${device?.ip ?? ''}</td>
    <td><code>${id}</code></td>
    <td>
      <form method="post" action="${base}/end${searchOf({ id, user })}">
        <button aria-label="End session ${id} of ${whose}">End</button>
      </form>
    </td>
  </tr>`;
}

/** The query of a link: those that are not empty. */
export function searchOf(query: Readonly<Record<string, string>> | AdminQuery): string {
  return `?${new URLSearchParams(Object.entries(query).filter(([, value]) => value !== '')).toString()}`;
}

/** A store of the application's own may hand out what is no moment. */
function time(moment: Date): Html {
  if (Number.isNaN(moment.getTime())) return html`?`;
  return html`<time datetime="${moment.toISOString()}">${momentOf(moment)}</time>`;
}

/** `2026-01-31 12:00:00 UTC` */
function momentOf(moment: Date): string {
  return moment.toISOString().replace('T', ' ').replace(/\..*/, ' UTC');
}

function countOf(count: number): string {
  return `${count} session${count === 1 ? '' : 's'}`;
}

function durationOf(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/** HTML that may be sent as it is. Only `html` makes it. */
class Html {
  constructor(readonly text: string) {}
}

type Part = string | number | Html | null | readonly Html[];

/**
 * A template of HTML. What is put into it is escaped, for text and for attributes in quotes, unless it is HTML itself;
 * null is nothing.
 */
export function html(template: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(
    template.reduce((text, piece, index) => text + textOf(parts[index - 1] ?? null) + piece).trim(),
  );
}

function textOf(part: Part): string {
  if (part === null) return '';
  if (part instanceof Html) return part.text;
  if (typeof part === 'object') return part.map(({ text }) => text).join('\n');
  return String(part).replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** What the browser loads beside the page: as files of their own, so that the page needs nothing inline. */
export const STYLE = `
:root { color-scheme: light dark; --line: #8884; --accent: light-dark(#2563eb, #7aa7ff); }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 90rem; font: 15px/1.5 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: baseline; justify-content: space-between; }
h1 { margin: 0; font-size: 1.5rem; }
#state { margin: 0; opacity: .75; }
#figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .75rem; margin: 1rem 0; }
#figures div { padding: .75rem 1rem; border: 1px solid var(--line); border-radius: .5rem; }
dt { opacity: .75; }
dd { margin: 0; font-size: 1.25rem; font-weight: 600; }
.down { color: #dc2626; }
.message { padding: .5rem 1rem; border-left: .25rem solid var(--accent); background: #8881; }
.search { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: 1rem 0; }
input, button { font: inherit; padding: .3rem .7rem; border: 1px solid var(--line); border-radius: .375rem; }
button { cursor: pointer; }
button.all { margin: .75rem 0; border-color: #dc2626; }
a { color: var(--accent); }
#list { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .45rem .75rem .45rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td:nth-child(5) { max-width: 20rem; overflow-wrap: anywhere; }
/* In reach where the table is wider than the window. */
td:last-child { position: sticky; right: 0; padding-right: 0; background: Canvas; }
time, code { white-space: nowrap; }
code { font-size: .9em; }
.empty { opacity: .75; }
`;

/** Puts in place what the stream sends. It is HTML that the server has escaped. */
export const SCRIPT = `
const events = new EventSource(document.body.dataset.events);
const state = document.getElementById('state');
const shown = new Map();
events.onopen = () => { state.textContent = 'live'; };
events.onerror = () => { state.textContent = events.readyState === EventSource.CLOSED ? 'not live: reload the page' : 'connecting again'; };
events.onmessage = ({ data }) => {
  for (const [id, html] of Object.entries(JSON.parse(data))) {
    const place = document.getElementById(id);
    // Nothing is taken away from somebody who is about to press a button.
    if (html === null || html === shown.get(id) || place.matches(':focus-within')) continue;
    place.innerHTML = html;
    shown.set(id, html);
  }
};
`;
