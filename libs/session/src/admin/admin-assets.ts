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
