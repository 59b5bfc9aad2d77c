// Forms become requests: each is sent under an id of its own, so that sending it twice asks once.
import { refresh } from "./live.js";
import { pause } from "./pace.js";
import { selected } from "./selection.js";
import { couple } from "./sliders.js";

const studies = `${document.documentElement.dataset.root}/v1/studies/`;
const WORDS = { true: true, false: false, None: null };
const valueOf = (text) => (text.trim() !== "" && !isNaN(text) ? Number(text) : text in WORDS ? WORDS[text] : text);
// What stands line by line as name=value: texts, or amounts.
const linesOf = ({ value, dataset }) => Object.fromEntries(value.split("\n").filter((line) => line.trim()).map((line) => {
  const [name, ...given] = line.trim().split("=");
  return [name.trim(), dataset.lines === "amounts" ? valueOf(given.join("=")) : given.join("=")];
}));
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function argumentsOf(form) {
  const found = {};
  for (const input of form.querySelectorAll("[name]:not([name=why], :disabled, [type=checkbox]:not(:checked))")) {
    if (input.value === "" || input.value === input.dataset.was) continue; // what was not touched is not asked for
    const [name, within] = input.name.split(/\.(.*)/s);
    const value = input.type === "checkbox" ? true : "lines" in input.dataset ? linesOf(input) : within || "number" in input.dataset ? valueOf(input.value) : input.value;
    if (within) (found[name] ??= {})[within] = value; else found[name] = value;
  }
  return found;
}

// What a form asks for: where, and what.
function asksOf(form, verb) {
  const given = argumentsOf(form), why = form.elements.why?.value ?? "", { study, asks, more } = form.dataset;
  if (!study) return [[encodeURIComponent(given.name), { ...given, why, name: undefined, ...JSON.parse(more ?? "{}") }]];
  const head = document.getElementById("head"), guarded = head && /^(set|schedule|revert|undo)$/.test(verb);
  let found = asks ? JSON.parse(asks) : [{ verb, arguments: given, ...(guarded && { expect: Number(head.value) }) }];
  if (!asks && verb.endsWith("_trial") && given.trial === undefined) found = [...selected].map((trial) => ({ verb, arguments: { trial } }));
  return found.map((each) => [`${encodeURIComponent(study)}/requests/${newId()}`, { ...each, why }]);
}

async function send(address, body, output, tries = 5) {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(studies + address, { method: "PUT", headers, body: JSON.stringify(body) }).catch(() => null);
  const told = await answer?.json();
  if (answer?.ok) return told;
  if (answer) throw new Error(`Refused: ${told.why}`);
  if (!tries) throw new Error("The server does not answer. Try again once it does.");
  output.textContent = "The server does not answer; it is asked again.";
  await pause(4000 / tries);
  return send(address, body, output, tries - 1); // under the same id: it is asked once, whatever was lost
}

async function ask(form, verb, output) {
  output.textContent = "asked …";
  for (const [address, body] of asksOf(form, verb)) {
    const told = await send(address, body, output), where = told.step == null ? "" : ` at step ${told.step.toLocaleString("en")}`;
    output.textContent = `${told.state ?? "begun"}${where}${told.why ? `: ${told.why}` : ""}`;
    if (form.dataset.goesTo) location.assign(form.dataset.goesTo + encodeURIComponent(told.study));
  }
  if (form.matches(".ask")) for (const input of form.querySelectorAll("[name]")) {
    if ("was" in input.dataset) input.dataset.was = input.value; else input.value = input.defaultValue ?? input.value;
    input.checked = input.defaultChecked; // nothing is asked for twice by mistake
  }
}

export function readyForms() {
  document.querySelectorAll(".setting").forEach(couple);
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches(".ask, .launch")) return;
    event.preventDefault();
    const output = form.querySelector(":scope > output");
    const asked = ask(form, event.submitter?.value || form.dataset.verb, output);
    output.dataset.state = await asked.then(() => "done", (error) => {
      output.textContent = error.message;
      return "refused";
    });
    refresh();
  });
}
