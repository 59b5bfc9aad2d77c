// The trials that are selected: one set for pictures and table, kept in the address of the page.

export const selected = new Set();
const followers = [];

export const onSelection = (follower) => followers.push(follower);

function asText() {
  const parts = [];
  for (const trial of [...selected].sort((one, other) => one - other)) {
    if (parts.at(-1)?.[1] === trial - 1) parts.at(-1)[1] = trial; else parts.push([trial, trial]);
  }
  return parts.map(([first, last]) => (first === last ? first : `${first}-${last}`)).join(",");
}

export function select(trials, toggle = false) {
  if (!toggle) selected.clear();
  for (const trial of trials) if (!toggle || !selected.delete(trial)) selected.add(trial);
  const url = new URL(location);
  if (selected.size) url.searchParams.set("trials", asText()); else url.searchParams.delete("trials");
  history.replaceState(null, "", url);
  showSelection();
  followers.forEach((each) => each());
}

export function showSelection() {
  const bar = document.querySelector(".selection");
  if (!bar) return;
  bar.classList.toggle("none", !selected.size);
  bar.querySelector("b").textContent = selected.size ? selected.size.toLocaleString("en") : "no";
  bar.querySelector("p span").textContent = selected.size > 1 ? "trials" : "trial";
  document.getElementById("listing").elements.trials.value = asText();
  for (const row of document.querySelectorAll("[data-trial]")) row.querySelector("input").checked = selected.has(Number(row.dataset.trial));
}

export function keepSelection() {
  for (const part of (new URL(location).searchParams.get("trials") ?? "").split(",").filter(Boolean)) {
    const [first, last = first] = part.split("-").map(Number);
    for (let trial = first; trial <= last; trial++) selected.add(trial);
  }
  document.addEventListener("change", ({ target }) => {
    const row = target.closest("[data-trial]");
    if (row) select([Number(row.dataset.trial)], true);
  });
  document.getElementById("unselect")?.addEventListener("click", () => select([]));
  showSelection();
}
