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
