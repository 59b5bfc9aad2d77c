// One stream a page: an event says that something is new, and the parts that are seen are fetched again.
import { redraw } from "./charts.js";
import { paced } from "./pace.js";
import { showSelection } from "./selection.js";
import { couple } from "./sliders.js";

const TOGETHER_MS = 50, SILENCE_MS = 2500, PATIENCE_MS = 2000; // a server that is gone is said within five seconds
const { events: place, after: first = null } = document.querySelector("[data-events]")?.dataset ?? {};
const root = document.documentElement.dataset.root, words = document.getElementById("connection");
const news = new BroadcastChannel(`tuner ${place}`); // one tab of a browser listens for all that show the same study
let stream = null, lastHeard = Date.now(), lastSeen = lastHeard, lastTold = 0, after = first, away = false;

function say(text) {
  if (words.textContent !== text) words.textContent = text;
  document.body.classList.toggle("cut-off", text !== "");
}

const heard = () => { lastHeard = lastSeen = Date.now(); away = false; say(""); };
const gone = (who = "server") => say(`The ${who} does not answer. What you see is of `
  + `${new Date(lastSeen).toLocaleTimeString()}. What trains goes on without it, and so does this page once it is back.`);
const answered = () => { lastHeard = Date.now(); if (away) gone("database"); else heard(); };
const lacking = () => { away = true; answered(); }; // the server is there, and the database behind it is not

export const refresh = paced(async () => {
  const wanted = new URL(location);
  wanted.searchParams.set("part", [...document.querySelectorAll("[data-part]")].map((part) => part.id).join(","));
  try {
    const answer = await fetch(wanted, { signal: AbortSignal.timeout(20_000) });
    if (answer.status === 401) return say("You are logged out. `tuner serve --list` prints a link that lets you in.");
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const [waits, still] = [document, fresh].map((each) => each.querySelector("[data-waits]")); // for there to be a study
    if (waits && !still) return location.reload();
    if (answer.status === 503 && still && !waits) return lacking();
    for (const part of fresh.querySelectorAll("[data-part]")) exchange(document.getElementById(part.id), part);
    heard();
    showSelection();
    redraw();
  } catch { gone(); }
}, { rest: 1, together: TOGETHER_MS });

function exchange(old, fresh) {
  if (!old || old.innerHTML === fresh.innerHTML || old.querySelector("form :is(:focus, :checked)")) return;
  if ([...old.querySelectorAll("[data-was]")].some(({ value, dataset }) => value !== dataset.was)) return;
  const focus = old.contains(document.activeElement) && document.activeElement.closest("[data-trial]");
  const were = [...old.querySelectorAll(".scroll")].map(({ scrollLeft, scrollTop }) => [scrollLeft, scrollTop]);
  old.replaceWith(fresh);
  fresh.querySelectorAll(".scroll").forEach((each, at) => each.scrollTo(...(were[at] ?? [0, 0])));
  fresh.querySelectorAll(".setting").forEach(couple);
  if (focus) fresh.querySelector(`[data-trial="${focus.dataset.trial}"] input`)?.focus();
}

// A browser has six connections to a host: four studies hold a stream, tabs of others look every other second.
const held = (name, act) => navigator.locks.request(`tuner-stream ${name}`, { ifAvailable: true }, (lock) => lock && act());
const open = () => place && (!navigator.locks ? listen() : held(place, async () => { // over a network without TLS there are none
  for (let slot = 0; slot < 4 && !stream && !document.hidden; slot++) await held(slot, listen);
}));

const listen = () => new Promise((ended) => {
  stream = Object.assign(new EventSource(`${place}?after=${after}&beat_s=1`), { ended, onopen: answered });
  stream.addEventListener("beat", heard);
  stream.addEventListener("away", lacking);
  stream.onerror = () => { lastHeard = Math.min(lastHeard, Date.now() - SILENCE_MS + 500); };
  stream.onmessage = ({ lastEventId }) => { hear(lastEventId); tell(); };
});
const hear = (place) => { heard(); if (place !== after) { after = place; refresh(); } };
const tell = () => { if (after && stream && !away && Date.now() - lastHeard < SILENCE_MS) news.postMessage(after); };
news.onmessage = ({ data }) => { lastTold = Date.now(); hear(data); };
const close = () => { stream?.close(); stream?.ended(); stream = null; };

// A server that hangs breaks no stream, and one that refuses it ends it: it is asked now and then whether it is there.
async function ask() {
  try {
    await fetch(`${root}/files/icon.svg`, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    answered();
    if (stream?.readyState === EventSource.CLOSED) close();
  } catch { gone(); }
}

export function follow() {
  setInterval(() => { tell(); if (!document.hidden && Date.now() - lastHeard > SILENCE_MS) ask(); }, 1000);
  setInterval(() => { if (!document.hidden && !stream) { open(); if (Date.now() - lastTold > SILENCE_MS) refresh(); } }, 2000);
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else { open(); refresh(); } });
  addEventListener("pagehide", close);
  open();
}
