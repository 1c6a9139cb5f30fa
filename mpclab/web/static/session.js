// The session as a party sees it.

import { $, card, copying, h } from "./dom.js";
import { breaking } from "./break.js";
import { keeping } from "./keep.js";
import { chip, operation } from "./operations.js";
import { ownNumbers, proposal } from "./propose.js";
import { served } from "./serving.js";
import { linkTo } from "./address.js";

let parts = null; // the cards of the session
const drawn = new Map(); // part → what it was drawn from
let diagram = null;
let live = null;
const early = []; // chunks of the diagram before it is there

export function sessionView(app) {
  parts = {
    people: h("ul.plain.people"), invite: h("div.row"), serving: h("div"),
    operations: h("ul.plain", { "aria-live": "polite" }), keys: h("div"), history: h("div"), flow: h("div.flow"),
  };
  drawn.clear();
  const main = $("main");
  main.className = "session";
  main.replaceChildren(
    h("div.column", {}, card("Operations", parts.operations),
      card("Propose", proposal(app.kinds, app.act), ownNumbers(app.page))),
    h("div.column", {},
      card("Who is here", parts.people, parts.invite, parts.serving),
      card("Keys", parts.keys, keeping(app)), card("History", parts.history),
      breaking(app)),
    h("section.card.wide", { "aria-label": "Messages" }, h("h2", {}, "Messages", h("small", {}, "as this party saw them")), parts.flow));
  mountFlow();
  draw(app);
}

export function endView() {
  parts = diagram = null;
  early.length = 0;
}

function person(state, one) {
  const words = one.party === state.me ? [one.online ? "this tab" : "this tab, looking for the server", one.online ? "good" : "warn"]
    : one.via === "link" ? ["connected directly", "good"]
    : one.via === "relay" ? ["connected through the server, sealed", "good"]
    : one.online ? ["being connected", "warn"] : ["not here", "soft"];
  return h("li", {}, chip(state, one.party),
    h("code", { title: one.key }, one.key ? `${one.key.slice(0, 16)}…` : "key not known yet"),
    h(`span.${words[1]}`, {}, words[0]));
}

function inviting(app) {
  const link = linkTo(app.place);
  return [
    copying("Copy the invitation", link),
    navigator.share ? h("button", { type: "button", onclick: () => navigator.share({ url: link }).catch(() => {}) }, "Share…") : null,
    h("button", { type: "button", onclick: () => app.leave() }, "Leave"),
  ];
}

// Draw a part again only when what it shows has changed.
function part(name, data, make) {
  const text = JSON.stringify(data);
  if (drawn.get(name) === text) return;
  drawn.set(name, text);
  parts[name].replaceChildren(...make(data).filter(Boolean));
}

export function draw(app) {
  const { state } = app;
  if (parts === null || state.people === undefined) return;
  const linked = state.people.filter((p) => p.via && p.party !== state.me).length;
  $("where").replaceChildren("party ", chip(state, state.me), " of ", h("code", {}, state.session));
  const words = state.failure ? h("span.bad", {}, state.failure) : state.refused && !state.joined ? h("span.bad", {}, `refused: ${state.refused}`)
    : state.joined ? h("span", {}, `🟢 ${linked + 1} of ${state.parties} connected`)
    : h("span.warn", {}, linked ? `🟡 no server; ${linked + 1} of ${state.parties} still connected` : `🔴 ${state.server_says || "looking for the server"}`);
  if (drawn.get("status") !== words.textContent) {
    drawn.set("status", words.textContent);
    $("status").replaceChildren(words);
  }
  part("people", state.people, (people) => people.map((one) => person(state, one)));
  part("invite", app.place.server, () => inviting(app));
  part("serving", { serving: state.serving, joined: state.joined, server: state.server }, () => served(app));
  if (!state.running) {
    part("operations", state.joined, () => [h("li.soft", {}, "The vote can begin when all parties are here.")]);
    return;
  }
  drawOperations(app);
  part("keys", state.keys, (keys) => keys.length ? [h("ul.plain", {}, keys.map((k) => h("li", {},
    h("strong", {}, k.name || k.suite), ` ${k.threshold} of ${k.holders.length}${k.holds ? ", you hold a share" : ""}`, h("br"), h("code", {}, k.public))))]
    : [h("p.soft", {}, "None yet: propose dkg.")]);
  part("history", state.history, (entries) => entries.length ? [h("ol.history", {}, [...entries].reverse().map((e) => h("li", { value: e.index },
    e.text, h("br"), h("code.soft", { title: e.head }, `${e.head.slice(0, 24)}…`))))] : [h("p.soft", {}, "Empty.")]);
}

// Operations one by one, so that a button keeps the focus while votes come in elsewhere.
function drawOperations({ state, act }) {
  const shown = [...state.operations].reverse().sort((a, b) => (b.status === "open") - (a.status === "open"));
  if (!shown.length) { part("operations", 0, () => [h("li.soft", {}, "Nothing was proposed yet.")]); return; }
  const known = new Map([...parts.operations.children].map((li) => [li.dataset.op, li]));
  const list = shown.map((o) => {
    const text = JSON.stringify([o, state.people.map((p) => p.colour)]);
    if (drawn.get(`op ${o.op}`) === text && known.has(o.op)) return known.get(o.op);
    drawn.set(`op ${o.op}`, text);
    return operation(o, { state, act });
  });
  if (list.length !== parts.operations.children.length || list.some((li, i) => parts.operations.children[i] !== li)) {
    const focused = document.activeElement;
    parts.operations.replaceChildren(...list);
    if (focused?.isConnected) focused.focus({ preventScroll: true });
  }
}

// --- the diagram, the same as in a notebook -----------------------------------------------

async function mountFlow() {
  ({ live } = await import("./diagram.js"));
  if (parts === null) return;
  diagram = live(parts.flow);
  for (const chunk of early.splice(0)) diagram.append(chunk);
}

export function flow(chunk, begins) {
  if (begins) {
    early.length = 0;
    diagram = live === null || parts === null ? null : live(parts.flow);
  } else if (diagram === null) early.push(chunk);
  else diagram.append(chunk);
}
