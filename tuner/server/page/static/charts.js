// Pictures: drawn by Bokeh while they are seen, freed when they leave, one selection shown in all of them.
import { paced } from "./pace.js";
import { select, selected } from "./selection.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
export const theme = () => document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
const drawn = new Map(); // of each figure its views, and by which tag the server knows what they show
const seen = new Map(); // of each figure that is seen what draws it
const watcher = new IntersectionObserver((changes) => changes.forEach(({ target, isIntersecting }) => {
  seen.delete(target);
  if (isIntersecting) seen.set(target, paced(() => draw(target))).get(target)(); else free(target);
}), { rootMargin: "300px" });
dark.addEventListener("change", () => redraw());

export function drawCharts(within) {
  for (const figure of within.querySelectorAll("figure[data-picture]")) watcher.observe(figure);
}

export const redraw = () => seen.forEach((anew) => anew());

async function draw(figure) {
  if (!figure.isConnected) return seen.delete(figure), free(figure);
  const old = drawn.get(figure), url = new URL(figure.dataset.picture, location);
  url.searchParams.set("theme", theme());
  try {
    const answer = await fetch(url, old?.url === url.href ? { headers: { "If-None-Match": old.tag } } : {});
    if (answer.ok) await show(figure, await answer.json(), { url: url.href, tag: answer.headers.get("etag") });
    else if (answer.status !== 304) throw new Error(answer.status);
  } catch {
    if (!old) figure.querySelector(".shown").textContent = "This picture could not be fetched; it is tried again.";
  }
}

async function show(figure, { label, shown, item }, known) {
  const place = figure.querySelector(".canvas"), fresh = document.createElement("div");
  place.style.minHeight = `${place.offsetHeight}px`; // nothing jumps meanwhile
  place.append(fresh);
  const views = item ? [...(await Bokeh.embed.embed_item({ ...item, target_id: null }, fresh)).roots] : [];
  free(figure, fresh);
  drawn.set(figure, { ...known, views });
  if (!seen.has(figure)) return free(figure);
  place.style.minHeight = "";
  place.setAttribute("aria-label", label);
  figure.querySelector(".shown").textContent = shown;
  for (const source of sources(figure)) {
    source.selected.properties.indices.change.connect(() => {
      const trials = source.selected.indices.map((at) => source.data.trial[at]);
      if (!marking) queueMicrotask(() => select(trials)); // once Bokeh is through with it
    });
  }
  mark(figure);
}

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
  for (const source of sources(figure)) {
    const found = [];
    if (source.name !== "crossings") source.data.trial.forEach((trial, at) => { if (selected.has(trial)) found.push(at); });
    source.selected.indices = found;
  }
  marking = false;
}

export const markAll = () => [...drawn.keys()].forEach(mark);
