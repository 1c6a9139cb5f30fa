// What a person sees of a party in a tab: this file begins it and hands it on.

import { $, complain, h } from "./dom.js";
import { fromAddress, ice, serverOf, toAddress } from "./address.js";
import { Page } from "./page.js";
import { draw, endView, flow, sessionView } from "./session.js";
import { answerView, drawStart, endStart, startView, unlockView } from "./start.js";
import { isServed } from "./air.js";

const page = new Page({ show, flow, died });
let release = () => {}; // of the lock on who we are
let entering = false;

const app = {
  page,
  kinds: null, // what can be proposed
  state: {},
  place: null, // the form that this party began with
  act: (command) => page.command(command).catch(complain),
  start,
  enter,
  leave,
  crash,
};

function show(next) {
  app.state = next;
  if (app.place === null) drawStart(app);
  else draw(app);
}

function died(reason) {
  complain(`This party has ended: ${reason}`, true);
  $("status").replaceChildren(h("span.bad", {}, "ended; load the page again"));
  for (const button of document.querySelectorAll("main button")) button.disabled = true;
}

function start(given) {
  app.place = null;
  endView();
  startView(app, given);
}

// This party cannot be begun: what is asked of whoever sits here.
function askAgain(fields, error) {
  complain(error);
  if (document.querySelector("main form input[name=passphrase]")) return; // a form is there
  app.place = null;
  endView();
  if (/^this .*\bpassphrase\b/.test(error.message)) unlockView(app, fields, error.message);
  else startView(app, fields);
}

// Begin as this party. `passphrase` opens its identity where one was chosen.
async function enter(fields, passphrase = "") {
  if (entering) return; // a second click would let go of the lock that the first one took
  entering = true;
  try { await begin(fields, passphrase); } finally { entering = false; }
}

async function begin(fields, passphrase) {
  const held = await hold(`mpclab ${fields.session} ${fields.party}`);
  if (!held) {
    askAgain(fields, new Error(`party ${fields.party} of ${fields.session} is open in another tab of this browser`));
    return;
  }
  try {
    const server = serverOf(fields);
    if (server.startsWith("tab:") && server !== app.state.serving?.url && !(await isServed(server.slice(4)))) {
      await page.serve(server.slice(4)).catch(() => {}); // another tab was quicker: that one it is
    }
    const own = await page.ask("start", { place: { ...fields, url: server, ice: ice.servers, relay_only: ice.only }, passphrase });
    const { where, ...kept } = fields;
    app.place = { ...kept, server: fields.server ?? "", kept: own.kept };
    history.replaceState(null, "", toAddress(app.place));
    endStart();
    sessionView(app);
  } catch (error) {
    release();
    askAgain(fields, error);
  }
}

// Two tabs must not be one party: the lock is ours until we leave, or the tab goes.
function hold(name) {
  release();
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock === null ? undefined : new Promise((done) => { release = done; });
    }).catch(() => resolve(true));
  });
}

async function leave() {
  await app.act({ do: "leave" });
  release();
  const { party, ...rest } = app.place;
  history.replaceState(null, "", toAddress(rest));
  start(rest);
}

// The worker is ended in the middle of whatever it did; later another one takes up what was stored.
async function crash(milliseconds) {
  const { place } = app;
  page.crash();
  $("status").replaceChildren(h("span.bad", {}, "🔴 crashed"));
  await new Promise((resolve) => { setTimeout(resolve, milliseconds); });
  release();
  page.begin();
  app.kinds = await page.ask("boot");
  await enter(place);
}

// After sleep, or without a network for a while: look for the server now, not when its turn comes.
function wake() { if (app.place !== null && !entering) page.command({ do: "wake" }).catch(() => {}); }
addEventListener("online", wake);
document.addEventListener("resume", wake);
document.addEventListener("visibilitychange", () => { if (!document.hidden) wake(); });

addEventListener("unhandledrejection", (event) => complain(event.reason));
if ("serviceWorker" in navigator && parent === window) navigator.serviceWorker.register("./offline.js", { scope: "./" }).catch(() => {});
// Another invitation, pasted into a tab that is in no session.
addEventListener("hashchange", () => {
  const given = fromAddress();
  if (app.place !== null || app.kinds === null) return;
  if (given.code) answerView(app, given);
  else if (given.session && given.party) enter(given);
  else start(given);
});
// A notebook that holds this page gives it a port, by which it reaches the notebook's kernel.
const framed = parent === window ? Promise.resolve() : new Promise((resolve) => {
  addEventListener("message", function hear({ source, data, ports }) {
    if (source !== parent || data !== "mpclab notebook") return;
    removeEventListener("message", hear);
    [page.port] = ports;
    page.port.start();
    resolve();
  });
  parent.postMessage("mpclab tab", "*");
  setTimeout(resolve, 2000);
});

try {
  const given = fromAddress();
  [app.kinds] = await Promise.all([page.ask("boot"), framed]);
  document.documentElement.dataset.ready = "yes";
  if (given.code) await answerView(app, given);
  else if (given.session && given.party) await enter(given);
  else start(given);
} catch (error) {
  complain(error);
  $("wait")?.replaceChildren("Python could not be loaded.");
}
