// Pictures: drawn by Bokeh while they are seen, freed when they leave, one selection shown in all of them.
import { paced, pause } from "./pace.js";
import { onSelection, select, selected } from "./selection.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
export const theme = () => document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
const KEPT = 16; // columns
const drawn = new Map(); // of each figure its views, its frame, its theme, and by which tag the server knows what they show
const answers = new WeakMap(); // of each figure the last answer as it came, its tag and theme, and the columns that were known to it
const columns = new Map(); // by their tags those that several pictures share, or one in both themes: they are sent once
const seen = new Map(); // of each figure that is seen what draws it
const watcher = new IntersectionObserver((changes) => changes.forEach(({ target, isIntersecting }) => {
  seen.delete(target);
  if (isIntersecting) seen.set(target, paced(() => draw(target), { rest: 4, lane: "draws" })).get(target)(); else free(target);
}), { rootMargin: "300px" });
dark.addEventListener("change", () => redraw(true));

export const drawCharts = (within) => within.querySelectorAll("figure[data-picture]").forEach((each) => watcher.observe(each));

// One is drawn at a time, first what stands at the top of the window: each is asked for once the one before is on its way.
export const redraw = (now) => [...seen].map(([figure, anew]) => [figure.getBoundingClientRect(), anew])
  .sort(([{ top, left }], [other]) => Math.abs(top) - Math.abs(other.top) || left - other.left)
  .reduce((before, [, anew]) => before.then(() => { anew(now); return pause(0); }), Promise.resolve());

async function draw(figure) {
  if (!figure.isConnected) return seen.delete(figure), free(figure);
  if (document.hidden || !seen.has(figure)) return;
  if (!drawn.has(figure)) await show(figure); // what it showed before, at once
  const last = answers.get(figure), url = new URL(figure.dataset.picture, location), wanted = theme();
  const known = new Map(columns), headers = last ? { "if-none-match": last.tag } : {}; // it may be freed, and still be true
  url.searchParams.set("theme", wanted);
  if (known.size) url.searchParams.set("knows", [...known.keys()].join());
  try {
    const answer = await fetch(url, { headers, signal: AbortSignal.timeout(60_000) }), tag = answer.headers.get("etag");
    if (answer.ok) answers.set(figure, { text: await answer.text(), tag, known, theme: wanted });
    else if (answer.status !== 304) throw new Error(answer.status);
    if (answer.headers.has("retry-after")) pause(1000 * answer.headers.get("retry-after")).then(() => seen.get(figure)?.());
  } catch {
    if (!last) figure.querySelector(".shown").textContent = "This picture could not be fetched; it is tried again.";
  }
  await show(figure);
}

// Without the server, too: one in another theme has other colours alone.
const inks = Object.entries(JSON.parse(document.querySelector("[name=inks]").content));
const inkOf = { dark: new Map(inks), light: new Map(inks.map(([light, dark]) => [dark, light])) };
const inked = (text) => text.replace(/"(#[0-9a-f]{6})"/g, (_, colour) => `"${inkOf[theme()].get(colour) ?? colour}"`);

// Where the frame is the same, what is new goes into it: that takes a fraction of a drawing from nothing.
async function show(figure) {
  const { text, tag, known, theme: had } = answers.get(figure) ?? {}, old = drawn.get(figure), wanted = theme();
  if (!text || (old?.tag === tag && old.theme === wanted)) return;
  // Parsed anew: Bokeh has what it was given before.
  const { label, shown, item, frame, moving, shared } = JSON.parse(had === wanted ? text : inked(text));
  for (const { path, tag: name, lines, column = lines ? unpack(lines) : known.get(name) } of shared) put(item, path, keep(name, column));
  const place = figure.querySelector(".canvas"), stays = item && old?.frame === frame && old.theme === wanted;
  if (stays) {
    const events = moving.map(({ path, ...event }) => ({ ...event, new: path.reduce((part, key) => part[key], item) }));
    old.views[0].model.document.apply_json_patch({ events });
    drawn.set(figure, { ...old, tag });
  } else {
    place.style.minHeight = `${place.offsetHeight}px`; // nothing jumps meanwhile
    place.hidden = !item; // then what is shown says why there is nothing to see
    const fresh = place.appendChild(document.createElement("div"));
    const views = item ? [...(await Bokeh.embed.embed_item({ ...item, target_id: null }, fresh)).roots] : [];
    free(figure, fresh);
    drawn.set(figure, { tag, frame, views, theme: wanted });
    if (!seen.has(figure)) return free(figure);
    sources(figure).forEach(listen);
  }
  cross(figure), mark(figure);
  place.style.minHeight = "", place.setAttribute("aria-label", label);
  figure.querySelector(".shown").textContent = shown;
}

// Lines come as how much each point is above the one before it, the first points of all lines before the second.
function unpack({ count, lengths, step, by, rises }) {
  const sums = new Array(count).fill(0), lines = sums.map(() => []);
  for (let at = 0, point = 0; at < rises.length; point++) {
    lines.forEach((line, one) => { if (point < (lengths[one] ?? lengths)) line.push((sums[one] += rises[at++]) * step / by); });
  }
  return lines;
}

const put = (item, path, value) => { path.slice(0, -1).reduce((part, key) => part[key], item)[path.at(-1)] = value; };

function keep(tag, column) {
  columns.delete(tag), columns.set(tag, column); // the newest last
  while (columns.size > KEPT) columns.delete(columns.keys().next().value);
  return column;
}

// A brush selects where lines cross an axis: each of those places as a point, whose source comes empty.
function cross(figure) {
  const [lines, points] = ["trials", "crossings"].map((called) => sources(figure).find(({ name }) => name === called));
  const { ys, trial } = lines?.data ?? {}, of = (told) => ys.flatMap((line, one) => Array.from(line, (y, x) => told(x, y, trial[one])));
  if (points) points.data = { x: of((x) => x), y: of((_, y) => y), trial: of((_, __, number) => number) };
}

const listen = (source) => source.selected.properties.indices.change.connect(() => { // once Bokeh is through with it:
  if (!marking) queueMicrotask(select.bind(null, source.selected.indices.map((at) => source.data.trial[at])));
});

function free(figure, but) {
  const place = figure.querySelector(".canvas");
  place.style.minHeight = `${place.offsetHeight}px`;
  for (const view of drawn.get(figure)?.views ?? []) {
    const { document } = view.model, at = Bokeh.documents.indexOf(document);
    if (at >= 0) Bokeh.documents.splice(at, 1);
    view.remove();
    document?.clear();
  }
  for (const old of [...place.children]) if (old !== but) old.remove();
  drawn.delete(figure);
}

// ── one selection ───────────────────────────────────────────────────────────────────────────────

let marking = false;

const sources = (figure) => (drawn.get(figure)?.views ?? []).flatMap(({ model }) =>
  [...model.document._all_models.values()].filter((each) => each.data?.trial));

function mark(figure) {
  marking = true;
  for (const { name, data, selected: shown } of sources(figure)) {
    shown.indices = name === "crossings" ? [] : [...data.trial.keys()].filter((at) => selected.has(data.trial[at]));
  }
  marking = false;
}

onSelection(() => [...drawn.keys()].forEach(mark));
