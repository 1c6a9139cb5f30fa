// The way in: a session to create or to join, a server to start, an invitation to answer.

import { $, card, complain, copying, field, h, saveFile } from "./dom.js";
import { fromAddress, ice } from "./address.js";
import { picture } from "./codes.js";
import { served } from "./serving.js";

export function randomId() {
  const letters = "abcdefghjkmnpqrstuvwxyz23456789";
  return [...crypto.getRandomValues(new Uint8Array(10))].map((b) => letters[b % letters.length]).join("");
}

let serving = null; // the card of the server, on the first screen
let was = "";

export function startView(app, given) {
  const invited = Boolean(given.session);
  const input = (name, more) => h("input", { ...more, name, value: given[name] ?? more.value ?? "" });
  const number = (name, value) => input(name, { type: "number", min: 1, max: 100, required: true, value: given[name] ?? value, inputmode: "numeric" });
  const agreement = h("select", { name: "agreement" }, Object.entries(app.kinds.agreements).map(
    ([name, title]) => h("option", { value: name, selected: (given.agreement ?? "pbft") === name }, title)));
  const policy = input("policy", { value: "unanimous", list: "policies", required: true });
  const relays = h("textarea", { name: "ice", rows: 2, spellcheck: "false", placeholder: "stun:stun.example.org\nturn:turn.example.org user password" }, ice.text);
  const form = h("form", {
    onsubmit: (event) => {
      event.preventDefault();
      const { ice: relayed, only, passphrase, ...fields } = Object.fromEntries(new FormData(form));
      const wrong = ice.wrong(relayed, only);
      if (wrong) { complain(wrong); return; }
      ice.text = relayed;
      ice.only = Boolean(only);
      app.enter({ ...fields, server: whereOf(fields.where, given, app) }, passphrase);
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
  field("They meet at", places(given, app), "a tab may be the server: nothing needs to be installed"),
  h("details", {}, h("summary", {}, "more"),
    h("div.inner", {},
      h("label.check", {}, h("input", { type: "checkbox", name: "tell", value: "yes", checked: given.tell === "yes" }),
        "Let a lab see what happens here", h("small", {}, "votes, messages, results: never a secret")),
      field("Passphrase", h("input", { name: "passphrase", type: "password", autocomplete: "off" }), "by choice: without it nobody opens this party again"),
      field("Ticket", input("ticket", { autocomplete: "off", spellcheck: "false" }), "where parties come by invitation alone"),
      field("STUN and TURN servers", relays, "to reach those behind other routers"),
      h("label.check", {}, h("input", { type: "checkbox", name: "only", value: "yes", checked: ice.only }),
        "Link through TURN alone", h("small", {}, "nobody learns this browser's address but the TURN server")))),
  h("div.row", {}, h("button.main", { type: "submit" }, invited ? "Join" : "Create or join")));
  const main = $("main");
  main.className = "start";
  serving = h("div");
  was = "";
  main.replaceChildren(h("section.card", { "aria-labelledby": "begin" },
    h("h2", { id: "begin" }, invited ? "Join a session" : "Meet others"),
    h("p.soft", {}, "This tab is a party of its own: it makes its own key, votes, and holds its share of every secret. The server only introduces parties."),
    parent === window ? h("p.soft", {}, "Alone? ", h("a", { href: "lab.html" }, "A simulated lab"), " has all parties in one page.") : null,
    form),
  card("Server", serving),
  card("Take up again", restoring(app)));
  drawStart(app);
  $("where").replaceChildren();
  $("status").replaceChildren();
  (form.querySelector("[name=party]").value ? form.querySelector("[name=session]") : form.querySelector("[name=party]")).focus();
}

function places(given, app) {
  const options = [["page", "the server of this page"]];
  if (app.page.port !== null) options[0] = ["frame", "the server of this notebook"];
  if (app.page.wire !== null) options.push(["code", "the tab that invited me"]);
  options.push(["tab", given.server?.startsWith("tab:") ? "a tab of this browser" : app.state.serving ? "this tab" : "a tab of this browser, this one if there is none"]);
  if (given.server && !/^(tab|code|frame):/.test(given.server)) options.unshift(["given", given.server]);
  const chosen = app.page.wire !== null ? "code" : given.server?.startsWith("tab:") || app.state.serving ? "tab" : options[0][0];
  return h("select", { name: "where" }, options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
}

function whereOf(where, given, app) {
  if (where === "tab") return given.server?.startsWith("tab:") ? given.server : app.state.serving?.url ?? `tab:${randomId()}`;
  if (where === "code" || where === "frame") return `${where}:`;
  return where === "given" ? given.server : "";
}

export function endStart() { serving = null; }

// What of the first screen changes by itself: the server.
export function drawStart(app) {
  if (serving === null) return;
  const now = JSON.stringify(app.state.serving ?? null);
  if (now === was) return;
  if (!was || (was === "null") !== (now === "null")) {
    const select = document.querySelector("[name=where]");
    if (select && was) { // this tab serves, or does not any more: the choice says so
      const fresh = places(fromAddress(), app);
      select.replaceWith(fresh);
    }
  }
  was = now;
  serving.replaceChildren(...served(app).filter(Boolean));
}

// A party that was exported, taken up in this browser.
function restoring(app) {
  const file = h("input", { type: "file", name: "backup", required: true });
  const passphrase = h("input", { name: "opens", type: "password", required: true, autocomplete: "off" });
  const form = h("form", { onsubmit: async (event) => {
    event.preventDefault();
    try {
      const data = new Uint8Array(await file.files[0].arrayBuffer());
      const place = await app.page.ask("restore", { data, passphrase: passphrase.value });
      await app.enter(place, passphrase.value);
    } catch (error) { complain(error); }
  } }, field("Its file", file), field("Its passphrase", passphrase, "it opens the file, and from now on this party here"), h("div.row", {}, h("button", { type: "submit" }, "Take it up here")));
  return h("details", {}, h("summary", {}, "a party that was exported from another browser"), form);
}

// A party of this browser that only its passphrase opens: after a reload, or a crash.
export function unlockView(app, fields, why) {
  endStart();
  const passphrase = h("input", { name: "passphrase", type: "password", required: true, autocomplete: "off" });
  const form = h("form", { onsubmit: (event) => {
    event.preventDefault();
    const given = passphrase.value;
    passphrase.value = "";
    app.enter(fields, given);
  } }, field("Passphrase", passphrase, "what was stored opens with it; nobody else has it"),
  h("div.row", {}, h("button.main", { type: "submit" }, "Open this party"),
    h("button", { type: "button", onclick: () => { const { party, ...rest } = fields; app.start(rest); } }, "Be another party")));
  const main = $("main");
  main.className = "start";
  main.replaceChildren(card(`Party ${fields.party} of ${fields.session}`, h("p", { role: "status" }, `${why}.`), form));
  $("where").replaceChildren();
  $("status").replaceChildren(h("span.warn", {}, "asleep"));
  passphrase.focus();
}

// We were invited with a code: our answer, until the two browsers are connected.
export async function answerView(app, given) {
  const main = $("main");
  main.className = "start";
  const wire = await app.page.dial(ice.servers, () => {
    if (!wire?.isOpen) return;
    history.replaceState(null, "", location.pathname);
    app.start({ ...given, server: "" });
  });
  try {
    const answer = await wire.answered(given.code);
    main.replaceChildren(card("You were invited",
      h("p", {}, "Give this answer to whoever invited you; then the two browsers are connected, and everything else goes by itself."),
      picture(answer), h("p", {}, h("code.answer", {}, answer)),
      h("div.row", {}, copying("Copy the answer", answer)),
      h("p.soft", { role: "status" }, "Waiting for the other side…")));
  } catch (error) {
    complain(error);
    app.start({});
  }
}
