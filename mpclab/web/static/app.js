// What a person sees of a party in a tab.

import { Page } from "./page.js";

const $ = (id) => document.getElementById(id);
const main = $("main");

// An element. Text goes in as text, whoever wrote it.
export function h(tag, more = {}, ...inside) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(more)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "colour") element.style.background = value;
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...inside.flat().filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

let kinds = null; // what can be proposed
let state = {};
let place = null; // the form that this party began with
let parts = null; // the cards of the session
let diagram = null;
const early = []; // chunks of the diagram before it is there
const drawn = new Map(); // part → what it was drawn from

const page = new Page({ show, flow, died });

// --- words that appear and go ------------------------------------------------------------

let forgetting = 0;
function complain(error) {
  $("said").textContent = error.message ?? String(error);
  clearTimeout(forgetting);
  forgetting = setTimeout(() => { $("said").textContent = ""; }, 9000);
}

function died(reason) {
  complain(`This party has ended: ${reason}`);
  clearTimeout(forgetting);
  $("status").replaceChildren(h("span.bad", {}, "ended; load the page again"));
  for (const button of document.querySelectorAll("main button")) button.disabled = true;
}

const act = (command) => page.command(command).catch(complain);

// --- the way in --------------------------------------------------------------------------

const FIELDS = ["session", "party", "parties", "threshold", "policy", "agreement", "server"];

// What the address says after #: a link to a session, and in a tab of a party who it is.
function fromAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(FIELDS.filter((f) => given.has(f)).map((f) => [f, given.get(f)]));
}

function toAddress(fields) {
  return `#${new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== "" && value !== undefined))}`;
}

function serverOf(fields) {
  if (fields.server) return fields.server;
  const secure = location.protocol === "https:";
  return `${secure ? "wss" : "ws"}://${location.host}/`;
}

function randomId() {
  const letters = "abcdefghjkmnpqrstuvwxyz23456789";
  return [...crypto.getRandomValues(new Uint8Array(10))].map((b) => letters[b % letters.length]).join("");
}

function field(label, input, help) {
  return h("label", {}, label, input, help ? h("small", {}, help) : null);
}

function startForm(given) {
  const invited = Boolean(given.session);
  const input = (name, more) => h("input", { name, value: given[name] ?? more.value ?? "", ...more });
  const number = (name, value) => input(name, { type: "number", min: 1, max: 100, required: true, value: given[name] ?? value, inputmode: "numeric" });
  const agreement = h("select", { name: "agreement" }, Object.entries(kinds.agreements).map(
    ([name, title]) => h("option", { value: name, selected: (given.agreement ?? "pbft") === name }, title)));
  const policy = input("policy", { value: "unanimous", list: "policies", required: true });
  const where = h("select", { name: "where" },
    h("option", { value: "page" }, "the server of this page"),
    h("option", { value: "tab", selected: given.server?.startsWith("tab:") }, "a tab of this browser"));
  const form = h("form", {
    onsubmit: (event) => {
      event.preventDefault();
      const fields = Object.fromEntries(new FormData(form));
      fields.server = fields.where === "tab" ? `tab:${fields.session}` : given.server?.startsWith("tab:") ? "" : given.server ?? "";
      enter(fields);
    },
  },
  h("div.fields", {},
    field("Session", input("session", { value: randomId(), required: true, autocapitalize: "none", spellcheck: "false", pattern: "[A-Za-z0-9._\\-]{1,64}" }), invited ? "you were invited to it" : "its id is the invitation"),
    field("I am party number", number("party", invited ? "" : 1), "each number once")),
  h("div.fields", {},
    field("Parties", number("parties", 4)),
    field("Shares needed", number("threshold", 3), "for keys made here")),
  h("div.fields", {},
    field("Who must approve", policy, "unanimous, or threshold(3)"),
    field("Agreement", agreement, "how all come to the same record")),
  h("datalist", { id: "policies" }, h("option", { value: "unanimous" }), h("option", { value: "threshold(3)" })),
  field("They meet at", where, "a tab may be the server: nothing needs to be installed"),
  h("div.row", {}, h("button.main", { type: "submit" }, invited ? "Join" : "Create or join")));
  main.className = "start";
  main.replaceChildren(h("section.card", { "aria-labelledby": "begin" },
    h("h2", { id: "begin" }, invited ? "Join a session" : "Meet others"),
    h("p.soft", {}, "This tab is a party of its own: it makes its own key, votes, and holds its share of every secret. The server only introduces parties."),
    form));
  (form.querySelector("[name=party]").value ? form.querySelector("[name=session]") : form.querySelector("[name=party]")).focus();
}

async function enter(fields) {
  const held = await hold(`mpclab ${fields.session} ${fields.party}`);
  if (!held) {
    complain(`party ${fields.party} of ${fields.session} is open in another tab of this browser`);
    startForm(fields);
    return;
  }
  place = fields;
  try {
    const server = serverOf(fields);
    if (server.startsWith("tab:") && !(await isServed(server.slice(4)))) {
      await page.command({ do: "serve", name: server.slice(4) });
    }
    const own = await page.ask("start", { place: { ...fields, url: server } });
    place.kept = own.kept;
    history.replaceState(null, "", toAddress({ ...fields, where: undefined }));
    sessionView();
  } catch (error) {
    complain(error);
    startForm(fields);
  }
}

// Two tabs must not be one party: the lock is ours until the tab goes.
function hold(name) {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock === null ? undefined : new Promise(() => {});
    }).catch(() => resolve(true));
  });
}

// Whether some tab of this browser serves under that name already.
function isServed(name) {
  const air = new BroadcastChannel(`mpclab server ${name}`);
  return new Promise((resolve) => {
    const answer = (yes) => { air.close(); resolve(yes); };
    const patience = setTimeout(() => answer(false), 300);
    air.onmessage = ({ data }) => { if (data.what === "here") { clearTimeout(patience); answer(true); } };
    air.postMessage({ to: "server", from: "", what: "anybody" });
  });
}

// --- the session -------------------------------------------------------------------------

function card(title, ...inside) {
  return h("section.card", { "aria-label": title }, h("h2", {}, title), ...inside);
}

function sessionView() {
  parts = {
    people: h("ul.plain.people"), invite: h("div.row"), serving: h("div"),
    operations: h("ul.plain", { "aria-live": "polite" }), keys: h("div"), history: h("div"), flow: h("div.flow"),
  };
  drawn.clear();
  main.className = "session";
  main.replaceChildren(
    h("div.column", {}, card("Operations", parts.operations), card("Propose", proposal(), ownNumbers())),
    h("div.column", {},
      card("Who is here", parts.people, parts.invite, parts.serving),
      card("Keys", parts.keys), card("History", parts.history)),
    h("section.card.wide", { "aria-label": "Messages" }, h("h2", {}, "Messages", h("small", {}, "as this party saw them")), parts.flow));
  mountFlow();
  draw();
}

const status = {
  executed: ["done", "good"], committed: ["agreed", "good"], open: ["open", ""], expired: ["not decided in time", "warn"],
  aborted: ["rejected", "bad"], failed: ["failed", "bad"],
};

const chip = (party) => h("span.chip", { colour: state.people?.[party - 1]?.colour ?? "#777", title: `party ${party}` }, String(party));

function person(one) {
  const words = one.party === state.me ? [one.online ? "this tab" : "this tab, looking for the server", one.online ? "good" : "warn"]
    : one.via === "link" ? ["connected directly", "good"]
    : one.via === "relay" ? ["connected through the server, sealed", "good"]
    : one.online ? ["being connected", "warn"] : ["not here", "soft"];
  return h("li", {}, chip(one.party),
    h("code", { title: one.key }, one.key ? `${one.key.slice(0, 16)}…` : "key not known yet"),
    h(`span.${words[1]}`, {}, words[0]));
}

function inviting() {
  const { party, where, kept, ...rest } = place;
  const link = `${location.origin}${location.pathname}${toAddress(rest)}`;
  return [
    h("button", { type: "button", onclick: async (event) => {
      await navigator.clipboard?.writeText(link).catch(() => {});
      event.target.textContent = "Copied";
    } }, "Copy the invitation"),
    navigator.share ? h("button", { type: "button", onclick: () => navigator.share({ url: link }).catch(() => {}) }, "Share…") : null,
    h("button", { type: "button", onclick: leave }, "Leave"),
  ];
}

async function leave() {
  await act({ do: "leave" });
  const { party, ...rest } = fromAddress();
  history.replaceState(null, "", toAddress(rest));
  location.reload();
}

function served({ serving, joined, server }) {
  if (!serving) {
    // Whoever served has gone: the mesh lives on, and any tab may be the next server.
    if (joined || !server.startsWith("tab:")) return [];
    const name = server.slice(4);
    return [h("div.row", {}, h("button.main", { type: "button", onclick: () => act({ do: "serve", name }) }, "Start server in this tab"))];
  }
  return [
    h("h3", {}, "🟢 This tab is the server"),
    h("p.soft", {}, `${serving.connections} connections, ${serving.relayed} messages passed on`),
    h("ul.plain", {}, serving.sessions.map((s) => h("li", {}, h("code", {}, s.session), ` ${Object.keys(s.members).length} of ${s.n}`))),
    h("button", { type: "button", onclick: () => act({ do: "stop-serving" }) }, "Stop server"),
  ];
}

function operation(o) {
  const [word, mood] = status[o.status] ?? [o.status, ""];
  const mine = o.mine === null && o.status === "open";
  const params = o.params.filter(([, value]) => value !== "" && value.length !== 0);
  return h(mine ? "li.op.mine-to-vote" : "li.op", { "data-op": o.op },
    h("h3", {}, chip(o.by), o.text, h(`span.badge.${mood || "soft"}`, {}, word)),
    h("details", { open: mine }, h("summary", {}, "exactly what will be executed"),
      h("dl", {}, h("dt", {}, "operation"), h("dd", {}, h("code", {}, o.kind)),
        params.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, h("code", {}, Array.isArray(value) ? value.join(", ") : String(value)))]),
        h("dt", {}, "proposal"), h("dd", {}, h("code", {}, o.op)))),
    h("div.votes", {}, o.votes.map((v) => h("span", { title: v.reason }, chip(v.party), h(v.approve ? "span.good" : "span.bad", {}, v.approve ? "✓ approves" : "✗ rejects"))),
      o.status === "open" && o.waiting_for.length ? h("span.soft", {}, `waits for ${o.waiting_for.join(", ")}`) : null),
    o.reason ? h("p.soft", {}, o.reason) : null,
    o.result ? h("p.mono", {}, o.result) : null,
    o.facts.length ? h("dl", {}, o.facts.flatMap(([name, value]) => [h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, h("code", {}, String(value)))])) : null,
    o.kind === "sign" && o.status === "executed" ? saving(o) : null,
    mine ? h("div.row.votable", {},
      h("button.yes", { type: "button", onclick: () => act({ do: "vote", op: o.op, approve: true }) }, "Approve"),
      h("button.no", { type: "button", onclick: () => act({ do: "vote", op: o.op, approve: false, reason: "rejected by hand" }) }, "Reject")) : null);
}

function saving(o) {
  const signature = o.facts.find(([name]) => name === "signature")?.[1];
  return h("div.row", {},
    signature ? h("button", { type: "button", onclick: (event) => {
      navigator.clipboard?.writeText(signature).then(() => { event.target.textContent = "Copied"; }, complain);
    } }, "Copy the signature") : null,
    h("button", { type: "button", onclick: () => save(o.op) }, "Save signature and key"));
}

async function save(op) {
  const files = await act({ do: "files", op });
  for (const [name, data] of Object.entries(files ?? {})) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const url = URL.createObjectURL(new Blob([bytes]));
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }
}

// Numbers of one's own: they leave this tab only as shares of a computation that all approved.
function ownNumbers() {
  const input = h("input", { name: "numbers", inputmode: "decimal", autocomplete: "off" });
  const form = h("form", { onsubmit: async (event) => {
    event.preventDefault();
    await page.command({ do: "private", numbers: input.value }).then(() => { button.textContent = "Kept in this tab"; }, complain);
  } }, field("My own numbers", input, "for sum, compare, …; never sent as they are"));
  const button = h("button", { type: "submit" }, "Use them");
  form.append(h("div.row", {}, button));
  input.addEventListener("input", () => { button.textContent = "Use them"; });
  return h("details", {}, h("summary", {}, "numbers of my own"), form);
}

// --- proposing ---------------------------------------------------------------------------

const FIRST = ["note", "dkg", "sign", "sum", "compare", "refresh"];

function proposal() {
  const names = Object.keys(kinds.operations).sort((a, b) => {
    const [i, j] = [FIRST.indexOf(a), FIRST.indexOf(b)];
    return (i < 0 ? 99 : i) - (j < 0 ? 99 : j) || a.localeCompare(b);
  });
  const choice = h("select", { name: "kind", onchange: () => fill() }, names.map((name) => h("option", { value: name }, name)));
  const fields = h("div.fields");
  const rare = h("details", {}, h("summary", {}, "more"), h("div.fields"));
  const form = h("form", { onsubmit: async (event) => {
    event.preventDefault();
    const params = Object.fromEntries([...new FormData(form)].filter(([name]) => name.startsWith("param ")).map(([name, value]) => [name.slice(6), value]));
    const op = await act({ do: "propose", kind: choice.value, params });
    if (op) fill();
  } }, field("Operation", choice), fields, rare, h("div.row", {}, h("button.main", { type: "submit" }, "Propose")));
  const fill = () => {
    const all = kinds.operations[choice.value].parameters;
    const usual = all.filter((p) => p.default === null || p.kind === "reference" || all.length < 4);
    fields.replaceChildren(...usual.map(parameter));
    rare.lastChild.replaceChildren(...all.filter((p) => !usual.includes(p)).map(parameter));
    rare.hidden = usual.length === all.length;
  };
  fill();
  return form;
}

function parameter(p) {
  const name = `param ${p.name}`;
  const value = p.default === null ? "" : Array.isArray(p.default) ? p.default.join(", ") : String(p.default);
  const required = p.default === null;
  const input = p.choices.length ? h("select", { name }, p.choices.map((c) => h("option", { value: c, selected: c === value }, c || "—")))
    : p.kind === "number" ? h("input", { name, type: "number", value, required, inputmode: "numeric" })
    : p.kind === "reference" ? h("input", { name, value, required, list: "references", placeholder: required ? "" : "the newest" })
    : p.kind === "content" ? h("textarea", { name, rows: 2, required }, value)
    : h("input", { name, value, required });
  return field(p.name, input, p.help);
}

// --- drawing -----------------------------------------------------------------------------

// Draw a part again only when what it shows has changed.
function part(name, data, make) {
  const text = JSON.stringify(data);
  if (drawn.get(name) === text) return;
  drawn.set(name, text);
  parts[name].replaceChildren(...make(data).filter(Boolean));
}

function draw() {
  const linked = state.people?.filter((p) => p.via && p.party !== state.me).length ?? 0;
  if (parts === null || state.people === undefined) return;
  $("where").replaceChildren("party ", chip(state.me), " of ", h("code", {}, state.session));
  const words = state.failure ? h("span.bad", {}, state.failure) : state.refused && !state.joined ? h("span.bad", {}, `refused: ${state.refused}`)
    : state.joined ? h("span", {}, `🟢 ${linked + 1} of ${state.parties} connected`)
    : h("span.warn", {}, linked ? `🟡 no server; ${linked + 1} of ${state.parties} still connected` : `🔴 ${state.server_says || "looking for the server"}`);
  if (drawn.get("status") !== words.textContent) {
    drawn.set("status", words.textContent);
    $("status").replaceChildren(words);
  }
  part("people", state.people, (people) => people.map(person));
  part("invite", 1, inviting);
  part("serving", { serving: state.serving, joined: state.joined, server: state.server }, served);
  if (!state.running) {
    part("operations", state.joined, () => [h("li.soft", {}, "The vote can begin when all parties are here.")]);
    return;
  }
  drawOperations();
  part("keys", state.keys, (keys) => keys.length ? [h("ul.plain", {}, keys.map((k) => h("li", {},
    h("strong", {}, k.name || k.suite), ` ${k.threshold} of ${k.holders.length}${k.holds ? ", you hold a share" : ""}`, h("br"), h("code", {}, k.public))))]
    : [h("p.soft", {}, "None yet: propose dkg.")]);
  part("history", state.history, (entries) => entries.length ? [h("ol.history", {}, [...entries].reverse().map((e) => h("li", { value: e.index },
    e.text, h("br"), h("code.soft", { title: e.head }, `${e.head.slice(0, 24)}…`))))] : [h("p.soft", {}, "Empty.")]);
}

// Operations one by one, so that a button keeps the focus while votes come in elsewhere.
function drawOperations() {
  const shown = [...state.operations].reverse().sort((a, b) => (b.status === "open") - (a.status === "open"));
  if (!shown.length) { part("operations", 0, () => [h("li.soft", {}, "Nothing was proposed yet.")]); return; }
  const known = new Map([...parts.operations.children].map((li) => [li.dataset.op, li]));
  const list = shown.map((o) => {
    const text = JSON.stringify([o, state.people.map((p) => p.colour)]);
    if (drawn.get(`op ${o.op}`) === text && known.has(o.op)) return known.get(o.op);
    drawn.set(`op ${o.op}`, text);
    return operation(o);
  });
  if (list.length !== parts.operations.children.length || list.some((li, i) => parts.operations.children[i] !== li)) {
    const focused = document.activeElement;
    parts.operations.replaceChildren(...list);
    if (focused?.isConnected) focused.focus({ preventScroll: true });
  }
}

function show(next) {
  state = next;
  draw();
}

// --- the diagram, the same as in a notebook -----------------------------------------------

async function mountFlow() {
  ({ live } = await import("./diagram.js"));
  diagram = live(parts.flow);
  for (const chunk of early.splice(0)) diagram.append(chunk);
}

let live = null;

function flow(chunk, begins) {
  if (begins) {
    early.length = 0;
    diagram = live === null ? null : live(parts.flow);
  } else if (diagram === null) early.push(chunk);
  else diagram.append(chunk);
}

// --- the beginning -----------------------------------------------------------------------

addEventListener("unhandledrejection", (event) => complain(event.reason));
if ("serviceWorker" in navigator) navigator.serviceWorker.register("./offline.js", { scope: "./" }).catch(() => {});

try {
  kinds = await page.ask("boot");
  document.documentElement.dataset.ready = "yes";
  const given = fromAddress();
  if (given.session && given.party) await enter(given);
  else startForm(given);
} catch (error) {
  complain(error);
  $("wait").textContent = "Python could not be loaded.";
}
