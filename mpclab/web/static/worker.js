// The worker of a tab: Python, and what it persists. `page.js` has the links.

import { begun, sodium } from "./python.js";
import { Database, identity, restored } from "./database.js";

let tab = null; // mpclab.web.tab.Tab
let database = null; // null: nothing is kept
let queue = []; // verbs, in order
let busy = false;
let timer = 0;

// Verbs go to the page in batches, in order; what is to be kept is kept before anything later is done.
async function flush() {
  if (busy) return;
  busy = true;
  try {
    while (queue.length) {
      const keeps = (verb) => verb[0] === "keep" || verb[0] === "forget";
      const first = keeps(queue[0]);
      let count = 1;
      while (count < queue.length && keeps(queue[count]) === first) count += 1;
      const batch = queue.splice(0, count);
      if (!first) postMessage({ verbs: batch });
      else if (database !== null) await database.write(batch);
    }
  } catch (error) {
    // What was promised cannot be kept: this party must not say another word.
    tab = null;
    queue = [];
    postMessage({ died: `what this party promised cannot be stored: ${error.message ?? error}` });
  } finally {
    busy = false;
  }
}

const bridge = {
  perform(verb, link, text, data) {
    queue.push([verb, link, text, data ?? null]);
    if (queue.length === 1) queueMicrotask(flush);
  },
  wakeIn(milliseconds, callback) {
    clearTimeout(timer);
    timer = setTimeout(() => guarded(callback), milliseconds);
  },
};

// A bug in Python is told; one that ends Python altogether too.
function guarded(act) {
  try {
    return act();
  } catch (error) {
    postMessage({ died: `${error.message ?? error}`.slice(-2000) });
    return undefined;
  }
}

const nameOf = (place) => `mpclab ${place.session} ${place.party}`;

// Argon2id (RFC 9106) at libsodium's "interactive" limits: 64 MiB.
const derived = (passphrase, salt) => sodium.crypto_pwhash(32, passphrase, salt, sodium.crypto_pwhash_OPSLIMIT_INTERACTIVE,
  sodium.crypto_pwhash_MEMLIMIT_INTERACTIVE, sodium.crypto_pwhash_ALG_ARGON2ID13);

// What the page asks for, each with an answer.
const answers = {
  async boot() {
    tab = await begun(bridge, "mpclab.web.tab", "Tab");
    return JSON.parse(tab.command('{"do":"kinds"}')).ok;
  },
  async start({ place, passphrase }) {
    database = await Database.open(nameOf(place)).catch(() => null);
    const own = await identity(database, passphrase, derived);
    if (!own.kept) database = null;
    const kept = database === null ? undefined : await database.read();
    const answer = JSON.parse(tab.start(JSON.stringify(place), own.seed, kept));
    own.seed.fill(0);
    if (answer.error) throw new Error(answer.error);
    return { ...answer.ok, kept: own.kept };
  },
  // A party from a file: into this browser's database, unless it has that party already.
  async restore({ data, passphrase }) {
    const { ok, error } = JSON.parse(tab.opened(data, passphrase));
    if (error) throw new Error(error);
    const its = await Database.open(nameOf(ok.place));
    if (await its.own("sealed") !== undefined) throw new Error("this browser has that party already");
    await restored(its, ok.items);
    const seed = Uint8Array.from(ok.seed.match(/../g), (two) => parseInt(two, 16));
    const { kept } = await identity(its, passphrase, derived, seed);
    if (!kept) throw new Error("this browser keeps nothing here: use https, or this machine's own address");
    return ok.place;
  },
  async accept() { return tab.accept(); },
  async command({ command }) {
    const answer = JSON.parse(tab.command(JSON.stringify(command)));
    if (answer.error) throw new Error(answer.error);
    return answer.ok;
  },
};

onmessage = async ({ data }) => {
  if (data.ask === "alive") { postMessage({ answer: 0 }); return; }
  if (data.events) {
    for (const [what, ...rest] of data.events) if (tab !== null) guarded(() => tab.told(what, ...rest));
    return;
  }
  try {
    if (tab === null && data.ask !== "boot") throw new Error("this party has ended; load the page again");
    postMessage({ answer: data.id, ok: await answers[data.ask](data) });
  } catch (error) {
    postMessage({ answer: data.id, error: `${error.message ?? error}`.slice(-2000) });
  }
};
