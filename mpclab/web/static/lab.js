// A whole simulated lab in this page: parties, server, network and time are one Python in a worker.

import { $, card, complain, field, h, saveFile } from "./dom.js";
import { live } from "./diagram.js";
import { proposal } from "./propose.js";

const FRAME = 50; // ms between two looks while it plays
const OUTCOMES = { committed: "good", aborted: "bad", split: "bad", expired: "warn", undecided: "soft" };
const LIVES = { up: "good", crashed: "bad", paused: "warn", left: "soft" };
const VERDICTS = { ok: ["✓", "good"], violated: ["✗", "bad"], unknown: ["?", "soft"] };
// What can go wrong at the press of a button; anything else is written as a scenario has it.
const BREAKS = {
  crash: ["a party stops dead, and restarts later", (p, s) => ({ kind: "crash", party: p, restart_after: s })],
  pause: ["a party does nothing for a while", (p, s) => ({ kind: "pause", party: p, for: s })],
  partition: ["a party is cut off from all others", (p, s, n) => ({ kind: "partition", groups: [[p], others(p, n)], for: s })],
  loss: ["a third of all messages is lost", (p, s) => ({ kind: "loss", rate: 0.33, for: s })],
  delay: ["what a party says comes half a second late", (p, s) => ({ kind: "delay", delay: "500ms", from: [p], for: s })],
  silent: ["a liar: it says nothing", (p, s) => ({ kind: "silent", party: p, for: s })],
  equivocate: ["a liar: it tells some one story, and the rest another", (p, s) => ({ kind: "equivocate", party: p, for: s })],
};
const others = (p, n) => Array.from({ length: n }, (_, i) => i + 1).filter((q) => q !== p);

let kinds = null;
let state = {};
let diagram = null;
let playing = false;
const parts = {};
const drawn = new Map();

// --- the worker ---------------------------------------------------------------------------------

const worker = new Worker(new URL("./lab-worker.js", import.meta.url), { type: "module", name: "mpclab lab" });
const asked = new Map();
let next = 1;

worker.onmessage = ({ data: { id, ok, error, over, verb, text, data } }) => {
  if (verb === "state") show(JSON.parse(text));
  else if (verb === "flow") flow(data, text === "begin");
  else {
    const { resolve, reject } = asked.get(id);
    asked.delete(id);
    if (over) complain(`This lab has ended: ${error}`, true);
    if (error === undefined) resolve(ok);
    else reject(new Error(error));
  }
};
worker.onerror = (event) => complain(event.message || "the worker could not be loaded", true);

function command(what, more = {}) {
  const id = next++;
  worker.postMessage({ id, command: { do: what, ...more } });
  return new Promise((resolve, reject) => asked.set(id, { resolve, reject }));
}

// What a person asks for: what cannot be done is said.
const act = (what, more) => command(what, more).catch((error) => { playing = false; complain(error); });

// --- time -----------------------------------------------------------------------------------------

async function play() {
  if (playing) { playing = false; return; }
  playing = true;
  button();
  const hands = (state.operations ?? []).reduce((sum, o) => sum + o.waits_for_hands.length, 0);
  while (playing) {
    const began = performance.now();
    const answer = await act("advance", { milliseconds: FRAME * Number(parts.speed.value) });
    if (!answer?.goes_on || answer.hands > hands) break; // a vote by hand has all the time there is
    await new Promise((resolve) => { setTimeout(resolve, Math.max(0, FRAME - (performance.now() - began))); });
  }
  playing = false;
  button();
}

const button = () => { parts.play.textContent = playing ? "Stop" : "Play"; };

// --- the page -------------------------------------------------------------------------------------

function view() {
  const fields = ["people", "operations", "verdicts", "broken"].map((name) => [name, h("div")]);
  Object.assign(parts, Object.fromEntries(fields), { flow: h("div.flow"), digest: h("p.soft") });
  parts.play = h("button.main", { type: "button", onclick: play }, "Play");
  parts.speed = h("select", { name: "speed", "aria-label": "Speed" }, [["0.02", "50 times slower"], ["0.1", "10 times slower"], ["1", "as fast as life"], ["10", "10 times faster"]]
    .map(([value, text]) => h("option", { value, selected: value === "0.1" }, text)));
  parts.by = h("select", { name: "by" });
  const main = $("main");
  main.className = "session";
  main.replaceChildren(
    h("div.column", {}, card("Session", beginning()),
      card("Propose", field("By party", parts.by), proposal(kinds, propose)),
      card("Operations", parts.operations)),
    h("div.column", {}, card("Time", h("div.row", {}, parts.play, parts.speed),
      h("div.row", {}, h("button", { type: "button", onclick: () => act("run") }, "Run to the end"),
        h("button", { type: "button", onclick: () => act("step") }, "One step")), back()),
    card("Parties", parts.people), card("Break something", breaking(), parts.broken),
    card("Checks", h("div.row", {}, h("button", { type: "button", onclick: check }, "Check the run"),
      h("button", { type: "button", onclick: save }, "Save as a scenario")), parts.verdicts, parts.digest)),
    h("section.card.wide", { "aria-label": "Messages" }, h("h2", {}, "Messages", h("small", {}, "each arrow one message, in virtual time")), parts.flow));
  diagram = live(parts.flow);
}

function beginning() {
  const input = (name, value, more = {}) => h("input", { name, value, required: true, ...more });
  const number = (name, value) => input(name, value, { type: "number", min: 0, inputmode: "numeric" });
  const agreement = h("select", { name: "agreement" }, Object.entries(kinds.agreements).map(
    ([name, title]) => h("option", { value: name, selected: name === "pbft" }, title)));
  const form = h("form", { onsubmit: (event) => { event.preventDefault(); begin(); } },
    h("div.fields", {}, field("Parties", number("parties", 4)), field("Shares needed", number("threshold", 3)),
      field("Who must approve", input("policy", "unanimous"), "unanimous, or threshold(3)"), field("Agreement", agreement)),
    h("details", {}, h("summary", {}, "network and seed"), h("div.fields", {},
      field("Delay", input("delay", "normal(20ms, 5ms)"), "or 20ms, pareto(10ms, 1.5), …"),
      field("Loss", input("loss", "0"), "a rate, such as 0.1"), field("Seed", number("seed", 0), "the same seed, the same run"))),
    h("div.row", {}, h("button.main", { type: "submit" }, "Begin anew")));
  parts.beginning = form;
  return form;
}

async function begin() {
  playing = false;
  const done = await act("begin", Object.fromEntries(new FormData(parts.beginning)));
  if (!done) return;
  parts.by.replaceChildren(...state.people.map(({ party }) => h("option", { value: party }, String(party))));
}

async function propose({ kind, params }) {
  const op = await act("propose", { by: Number(parts.by.value), kind, params });
  if (op && !playing) play();
  return op;
}

function back() {
  const input = h("input", { name: "back", type: "number", min: 0, step: "any", required: true, inputmode: "decimal" });
  return h("details", {}, h("summary", {}, "back in time"), h("form", { onsubmit: (event) => {
    event.preventDefault();
    playing = false;
    act("rewind", { milliseconds: Number(input.value) });
  } }, field("To", input, "milliseconds; what comes after it happens anew, and may go another way"),
  h("div.row", {}, h("button", { type: "submit" }, "Go back"))));
}

function breaking() {
  const what = h("select", { name: "fault" }, Object.entries(BREAKS).map(([name, [text]]) => h("option", { value: name }, `${name}: ${text}`)));
  const party = h("input", { name: "faulty", type: "number", min: 1, value: 1, required: true, inputmode: "numeric" });
  const seconds = h("input", { name: "seconds", type: "number", min: 0.01, step: "any", value: 1, required: true });
  const own = h("input", { name: "own", spellcheck: "false", placeholder: '{"kind": "lie", "party": 2}' });
  return h("form", { onsubmit: (event) => {
    event.preventDefault();
    const written = own.value.trim();
    try {
      const fields = written ? JSON.parse(written) : BREAKS[what.value][1](Number(party.value), `${Math.round(seconds.value * 1000)}ms`, state.parties);
      act("break", { fields });
    } catch (error) { complain(`a fault is written as JSON: ${error.message}`); }
  } }, field("What", what), h("div.fields", {}, field("Party", party), field("Virtual seconds", seconds)),
  h("details", {}, h("summary", {}, "any other fault"), field("As a scenario has it, in JSON", own, kinds.faults.join(", "))),
  h("div.row", {}, h("button.no", { type: "submit" }, "Break it"), h("button", { type: "button", onclick: () => act("heal") }, "Heal all")));
}

async function check() {
  const judged = await act("check");
  if (judged) parts.digest.replaceChildren("trace ", h("code.digest", { title: judged.digest }, `${judged.digest.slice(0, 16)}…`), ", the same wherever this run is repeated");
}

async function save() {
  const text = await act("scenario");
  if (text) saveFile("scenario.yaml", btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("")));
}

// Draw a part again only when what it shows has changed.
function part(name, data, make) {
  const text = JSON.stringify(data);
  if (drawn.get(name) === text) return;
  drawn.set(name, text);
  parts[name].replaceChildren(...make(data).filter(Boolean));
}

const chip = (party) => h("span.chip", { colour: state.people[party - 1]?.colour ?? "#777", title: `party ${party}` }, String(party));

function show(now) {
  state = now;
  if (state.people === undefined || parts.people === undefined) return;
  $("where").textContent = `${state.agreement}, ${state.policy}, ${state.threshold} shares of ${state.parties} needed`;
  $("status").textContent = `${state.settled ? "🟢" : "🟡"} ${state.time}`;
  part("people", state.people, (people) => [h("ul.plain.people", {}, people.map((one) => h("li", {}, chip(one.party),
    h("select", { "aria-label": `Party ${one.party} votes`, onchange: ({ target }) => act("set-votes", { party: one.party, votes: target.value }) },
      kinds.votes.map((v) => h("option", { value: v, selected: v === one.votes }, v))),
    h(`span.${LIVES[one.life] ?? "soft"}`, {}, [one.life, one.leads ? "leads" : one.phase].filter(Boolean).join(", ")))))]);
  part("operations", state.operations, (all) => all.length ? [h("ul.plain", {}, [...all].reverse().map(operation))] : [h("p.soft", {}, "Nothing was proposed yet.")]);
  part("broken", state.faults, (faults) => faults.map((text) => h("p.warn", {}, text)));
  if (!state.verdicts.length) parts.digest.replaceChildren();
  part("verdicts", state.verdicts, (verdicts) => [h("ul.plain.verdicts", {}, verdicts.map(({ check, verdict, text }) => {
    const [sign, mood] = VERDICTS[verdict];
    return h("li", {}, h(`strong.${mood}`, {}, `${sign} ${check}`), ` ${text}`);
  }))]);
}

function operation(o) {
  return h("li.op", { "data-op": o.op },
    h("h3", {}, chip(o.by), `${o.number} · ${o.text || o.kind}`, h(`span.badge.${OUTCOMES[o.status] ?? "soft"}`, {}, o.status)),
    h("div.votes", {}, Object.entries(o.holdings).map(([party, held]) => h("span", {}, chip(Number(party)), held))),
    o.reason ? h("p.soft", {}, o.reason) : null,
    o.result ? h("p.mono", {}, o.result) : null,
    o.facts.length ? h("dl", {}, o.facts.flatMap(([name, value]) => [h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, h("code", {}, String(value)))])) : null,
    o.kind === "sign" && o.facts.length ? h("div.row", {}, h("button", { type: "button", onclick: () => files(o.op) }, "Save signature and key")) : null,
    o.waits_for_hands.length ? h("div.row.votable", {}, o.waits_for_hands.flatMap((party) => [
      h("button.yes", { type: "button", onclick: () => vote(party, o.op, true) }, `Party ${party}: approve`),
      h("button.no", { type: "button", onclick: () => vote(party, o.op, false) }, "Reject")])) : null);
}

async function vote(party, op, approve) {
  await act("vote", { party, op, approve });
  if (!playing) play();
}

async function files(op) {
  for (const [name, data] of Object.entries(await act("files", { op }) ?? {})) saveFile(name, data);
}

function flow(chunk, begins) {
  if (begins) diagram = live(parts.flow);
  else diagram.append(chunk);
}

try {
  kinds = await command("kinds");
  document.documentElement.dataset.ready = "yes";
  view();
  await begin();
} catch (error) {
  complain(error);
  $("wait")?.replaceChildren("Python could not be loaded.");
}
if ("serviceWorker" in navigator && parent === window) navigator.serviceWorker.register("./offline.js", { scope: "./" }).catch(() => {});
