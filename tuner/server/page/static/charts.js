// Pictures: drawn by Bokeh while they are seen, freed when they leave, one selection shown in all of them.
import { paced, pause } from "./pace.js";
import { onSelection, select, selected } from "./selection.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
export const theme = () => document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
const drawn = new Map(); // of each figure its views, its frame, and by which tag the server knows what they show
const seen = new Map(); // of each figure that is seen what draws it
const watcher = new IntersectionObserver((changes) => changes.forEach(({ target, isIntersecting }) => {
  seen.delete(target);
  if (isIntersecting) seen.set(target, paced(() => draw(target), { rest: 4, lane: "draws" })).get(target)(); else free(target);
}), { rootMargin: "300px" });
dark.addEventListener("change", () => redraw());

export const drawCharts = (within) => within.querySelectorAll("figure[data-picture]").forEach((each) => watcher.observe(each));

export const redraw = () => seen.forEach((anew) => anew());

async function draw(figure) {
  if (!figure.isConnected) return seen.delete(figure), free(figure);
  if (document.hidden || !seen.has(figure)) return;
  const old = drawn.get(figure), url = new URL(figure.dataset.picture, location);
  url.searchParams.set("theme", theme());
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(60_000) }), tag = answer.headers.get("etag");
    if (!answer.ok) throw new Error(answer.status);
    if (tag !== old?.tag) await show(figure, await answer.json(), tag);
    if (answer.headers.has("retry-after")) pause(1000 * answer.headers.get("retry-after")).then(() => seen.get(figure)?.());
  } catch {
    if (!old) figure.querySelector(".shown").textContent = "This picture could not be fetched; it is tried again.";
  }
}

// Where the frame is the same, what is new goes into it: that takes a fraction of a drawing from nothing.
async function show(figure, { label, shown, item, frame, moving }, tag) {
  const place = figure.querySelector(".canvas"), old = drawn.get(figure), stays = item && old?.frame === frame;
  if (stays) {
    const events = moving.map(({ path, ...event }) => ({ ...event, new: path.reduce((part, key) => part[key], item) }));
    old.views[0].model.document.apply_json_patch({ events });
    drawn.set(figure, { ...old, tag });
  } else {
    place.style.minHeight = `${place.offsetHeight}px`; // nothing jumps meanwhile
    const fresh = place.appendChild(document.createElement("div"));
    const views = item ? [...(await Bokeh.embed.embed_item({ ...item, target_id: null }, fresh)).roots] : [];
    free(figure, fresh);
    drawn.set(figure, { tag, frame, views });
    if (!seen.has(figure)) return free(figure);
    sources(figure).forEach(listen);
  }
  place.style.minHeight = "", place.setAttribute("aria-label", label);
  figure.querySelector(".shown").textContent = shown;
  mark(figure);
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
