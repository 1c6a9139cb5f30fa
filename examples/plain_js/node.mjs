// The party in a terminal: `node node.mjs ws://127.0.0.1:8080/ --session shop --party 3 --parties 3`.
// It prints a line of JSON for each event, and takes {"approve": OP}, {"reject": OP, "reason": …},
// {"propose": KIND, "params": {…}} and {"leave": true}, a line each.

import { createHash } from "node:crypto";
import { readFileSync, realpathSync, writeFileSync, renameSync } from "node:fs";
import { createServer } from "node:net";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import wrtc from "@roamhq/wrtc";
import WebSocket from "ws";
import { Party } from "./party.mjs";
import { random } from "./identity.mjs";
import { fromBase64, toBase64 } from "./bytes.mjs";

const text = { type: "string" };
const { positionals: [url], values } = parseArgs({ allowPositionals: true, options: {
  session: text, party: text, parties: text, threshold: text, policy: text, agreement: text, ticket: text, store: text, votes: text,
} });
if (!url || !values.session || !values.party || !values.parties) {
  console.error("usage: node node.mjs URL --session ID --party I --parties N [--threshold T] [--policy P] [--agreement A] [--store FILE] [--votes approve|hand]");
  process.exit(2);
}

// A file that is written whole before anything is sent that relies on it.
function fileStore(file) {
  let kept = {};
  try { kept = JSON.parse(readFileSync(file, "utf8")); } catch (error) { if (file && error.code !== "ENOENT") throw error; }
  return {
    get: (name) => kept[name] ?? null,
    set(name, value) {
      kept[name] = value;
      if (!file) return;
      writeFileSync(`${file}.new`, JSON.stringify(kept), { mode: 0o600, flush: true });
      renameSync(`${file}.new`, file);
    },
  };
}

// Two processes that are one party would vote both ways: a name that the system knows, and forgets
// with the process that has it, however that ends. Where it has none such, a file's name has to do.
async function alone(file) {
  const whole = join(realpathSync(dirname(file)), basename(file));
  const name = `mpclab-${createHash("sha256").update(whole).digest("hex").slice(0, 32)}`;
  const path = { linux: `\0${name}`, win32: `\\\\.\\pipe\\${name}` }[process.platform] ?? `${whole}.lock`;
  const server = createServer((socket) => socket.destroy());
  await new Promise((resolve, reject) => server.once("error", reject).listen(path, resolve));
  server.unref();
}

if (values.store) {
  await alone(values.store).catch((error) => {
    console.error(error.code === "EADDRINUSE" ? `${values.store} is in use: another process is this party` : `${values.store}: ${error.message}`);
    process.exit(3);
  });
}
const store = fileStore(values.store);
if (store.get("seed") === null) store.set("seed", toBase64(random(32)));
process.stdout.on("error", () => process.exit(0)); // nobody reads any more
const told = (what, detail) => {
  console.log(JSON.stringify({ what, ...detail }));
  if (what === "proposed" && values.votes === "approve" && party.app.operations.get(detail.op).mine === null) party.app.vote(detail.op, true);
  if (what === "refused" && detail.final) process.exit(1);
};
const party = new Party({
  seed: fromBase64(store.get("seed")), store, told, url, WebSocket, RTCPeerConnection: wrtc.RTCPeerConnection,
  session: values.session, party: Number(values.party), n: Number(values.parties), t: Number(values.threshold ?? values.parties),
  policy: values.policy, agreement: values.agreement, ticket: values.ticket,
});
party.connect();

createInterface({ input: process.stdin }).on("line", (line) => {
  try {
    const wish = JSON.parse(line);
    if (wish.approve) party.app.vote(wish.approve, true, "", wish.hash);
    else if (wish.reject) party.app.vote(wish.reject, false, wish.reason, wish.hash);
    else if (wish.propose) party.app.propose(wish.propose, wish.params ?? {});
    else if (wish.leave) { party.leave(); setTimeout(() => process.exit(0), 50); }
  } catch (error) { console.log(JSON.stringify({ what: "error", reason: error.message })); }
});
