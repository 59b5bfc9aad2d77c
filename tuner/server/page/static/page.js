// The page comes to life: what changed is fetched anew, pictures are drawn where they are seen, forms become requests.
import { drawCharts, redraw, theme } from "./charts.js";
import { readyForms } from "./forms.js";
import { follow } from "./live.js";
import { keepSelection } from "./selection.js";

document.getElementById("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
  try { localStorage.setItem("tuner-theme", document.documentElement.dataset.theme); } catch { /* then it is not kept */ }
  redraw(true);
});

// What is long to make, or long to read, comes when it is opened.
document.addEventListener("toggle", async ({ target }) => {
  if (!target.open || !target.dataset?.load) return;
  const place = target.querySelector("div");
  place.textContent = "One moment …";
  const answer = await fetch(target.dataset.load).catch(() => null);
  place.innerHTML = answer?.ok ? await answer.text() : "The server did not answer. Close this and open it again.";
  drawCharts(place);
}, true);

keepSelection();
readyForms();
drawCharts(document);
follow();
