// What the client of `examples/plain_js` makes of a file of cases: node plain.mjs CLIENT CASES

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [home, file] = process.argv.slice(2);
const from = (name) => import(pathToFileURL(`${home}/${name}`));
const { fromBase64, hex, packed, toBase64, transcript, unpacked } = await from("bytes.mjs");
const { Identity, Seal, digest, verify } = await from("identity.mjs");
const { inSession, onLink, boxed, fromServer } = await from("messages.mjs");
const { Party } = await from("party.mjs");
const { fingerprints } = await from("peer.mjs");

const cases = JSON.parse(readFileSync(file, "utf8"));
const value = (v) => (Array.isArray(v) ? v.map(value) : v && typeof v === "object" ? fromBase64(v.bytes) : v);
const orError = (act) => { try { return act(); } catch (error) { return `Error: ${error.message}`; } };

const alice = new Identity(fromBase64(cases.seed));
const seal = new Seal(alice, fromBase64(cases.peer), fromBase64(cases.context));
const blames = [];
const store = new Map();
const us = new Party({
  seed: fromBase64(cases.seed), session: "s", party: 1, n: 3, t: 2, policy: "threshold(2)", agreement: "direct", url: "ws://x",
  store: { get: (name) => store.get(name) ?? null, set: (name, text) => store.set(name, text) },
  told: (what, detail) => blames.push([what, detail.reason ?? detail.op]), WebSocket: null, RTCPeerConnection: null,
});
for (const [party, key] of Object.entries(cases.keys)) us.keys.set(Number(party), fromBase64(key));
for (const data of cases.frames) {
  us.frame({ party: 2, dial: { isUp: true } }, fromBase64(data), true);
}

const own = us.app.propose("note", { text: "héllo", a: 7 });

// Carol, in the third seat, to whom the second offers links: what the server shows and relays.
const heard = [];
const dialled = [];
class Transport {
  createDataChannel() { return {}; }
  setRemoteDescription({ sdp }) { dialled.push(sdp); return new Promise(() => {}); }
  close() {}
}
const kept = new Map();
const carol = new Party({
  seed: fromBase64(cases.carol.seed), session: "s", party: 3, n: 3, t: 2, policy: "threshold(2)", agreement: "direct", url: "ws://x",
  store: { get: (name) => kept.get(name) ?? null, set: (name, text) => kept.set(name, text) },
  told: (what, detail) => {
    heard.push([what, JSON.parse(JSON.stringify(detail))]);
    if (what === "proposed" && detail.by === 3) carol.app.vote(detail.op, true); // as `--votes approve` does
  },
  WebSocket: null, RTCPeerConnection: Transport,
});
carol.incarnation = fromBase64(cases.carol.incarnation);
carol.state = "joined";
const posted = [];
carol.socket = { readyState: 1, send: (line) => posted.push(line) };
for (const message of cases.carol.news) {
  carol.hear(fromServer(message));
  await new Promise((resolve) => setTimeout(resolve, 0));
}
carol.peers.get(2).dial = { isUp: true, close: () => {} };
for (const [sender, data] of cases.carol.frames) carol.frame({ party: sender, dial: { isUp: true } }, fromBase64(data), true);
const stood = carol.app.operations.get(cases.carol.op);
const wrong = orError(() => carol.app.vote(stood.op, true, "", "00"));
const twice = [orError(() => carol.app.propose("note", { text: "x" }).length)];
kept.set(`vote ${stood.op}`, "of another tab");
twice.push(orError(() => carol.app.vote(stood.op, true)));
const before = posted.length;
[carol.rate, carol.burst, carol.credit] = [10, 20, 20];
for (let i = 0; i < 50; i++) carol.relay(2, {});

const found = JSON.stringify({
  unheard: [...carol.app.operations.values()].filter((o) => o.signed === null).length,
  heard, dialled, wrong, twice, sent: posted.length - before, backlog: carol.backlog.length,
  transcripts: cases.transcripts.map((parts) => hex(transcript(...value(parts)))),
  digest: hex(digest("label", 1, "x")),
  signature: toBase64(alice.sign("label", "x", 2)),
  verified: cases.signatures.map(([key, label, parts, signature]) => verify(fromBase64(key), label, value(parts), fromBase64(signature))),
  sealed: toBase64(seal.seal(fromBase64(cases.plaintext))),
  opened: cases.boxes.map((box) => orError(() => toBase64(seal.open(fromBase64(box))))),
  packed: cases.packed.map((data) => orError(() => toBase64(packed(unpacked(fromBase64(data)))))),
  hostile: cases.hostile.map((data) => orError(() => JSON.stringify([inSession, onLink, boxed].map((read) => read(unpacked(fromBase64(data))))))),
  texts: cases.texts.map((text) => orError(() => fromServer(JSON.parse(text)).type)),
  prints: cases.descriptions.map((sdp) => orError(() => fingerprints(sdp))),
  operations: [...us.app.operations.values()].map((o) => ({ op: o.op, hash: o.hash && hex(o.hash), votes: [...o.votes.keys()], ended: o.ended })),
  proposed: toBase64(packed({ ...us.app.operations.get(own).signed, type: "SignedProposal" })),
  vote: store.get(`vote ${own}`),
  blames,
});
process.stdout.write(found, () => process.exit(0)); // a pipe takes it in parts
