// Whether this client is what docs/wire.md says, by its vectors: `npm test`. No Python, no network.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fromBase64, packed, toBase64, transcript, unpacked } from "./bytes.mjs";
import { Identity, Seal, digest, verify } from "./identity.mjs";
import { fromServer } from "./messages.mjs";
import { Party } from "./party.mjs";

const file = process.env.WIRE_VECTORS ?? new URL("../../docs/wire-vectors.json", import.meta.url);
const vectors = JSON.parse(readFileSync(file, "utf8"));
const value = (v) => (Array.isArray(v) ? v.map(value) : v?.bytes !== undefined ? fromBase64(v.bytes) : v);
const [one, two] = [1, 2].map((party) => fromBase64(vectors.seeds[party]));

// The first party, which hears of the second, and what it was told.
function first() {
  const [kept, heard, posted] = [new Map(), [], []];
  const us = new Party({
    seed: one, session: "vectors", party: 1, n: 2, t: 2, url: "ws://x", told: (what, detail) => heard.push({ what, ...detail }),
    store: { get: (name) => kept.get(name) ?? null, set: (name, text) => kept.set(name, text) }, WebSocket: null, RTCPeerConnection: null,
  });
  us.keys.set(2, fromBase64(vectors.keys[2]));
  us.socket = { readyState: 1, send: (text) => posted.push(JSON.parse(text).msg) };
  const frame = (data) => us.frame({ party: 2, dial: { isUp: true } }, fromBase64(data), true);
  return { us, kept, heard, posted, frame, said: (what) => heard.filter((one) => one.what === what) };
}

test("keys, transcripts and hashes", () => {
  for (const party of [1, 2]) assert.equal(toBase64(new Identity(fromBase64(vectors.seeds[party])).public), vectors.keys[party]);
  for (const { parts, bytes } of vectors.transcripts) assert.equal(toBase64(transcript(...value(parts))), bytes);
  for (const { label, parts, hash } of vectors.hashes) assert.equal(toBase64(digest(label, ...value(parts))), hash);
});

test("MessagePack, both ways", () => {
  for (const { value: v, bytes } of vectors.messagepack) {
    const read = (data) => JSON.stringify(unpacked(data), (_, n) => (typeof n === "bigint" ? Number(n) : n));
    assert.equal(read(fromBase64(bytes)), JSON.stringify(v));
    assert.equal(read(packed(v)), JSON.stringify(v)); // however many bytes a number takes
  }
});

test("signatures under every label, and under no other", () => {
  const us = new Identity(one);
  for (const { label, parts, signature } of vectors.signatures) {
    assert.equal(toBase64(us.sign(label, ...value(parts))), signature, label);
    assert(verify(us.public, label, value(parts), fromBase64(signature)));
    assert(!verify(us.public, `${label} `, value(parts), fromBase64(signature)));
    assert(!verify(new Identity(two).public, label, value(parts), fromBase64(signature)));
  }
});

test("sealed boxes open in order, once, and those of nobody else", () => {
  const { context, boxes, refused } = vectors.seal;
  const [ours, theirs] = [[one, two], [two, one]].map(([own, other]) => new Seal(new Identity(own), new Identity(other).public, fromBase64(context)));
  assert.equal(toBase64(theirs.seal(fromBase64(boxes[0].plaintext))), boxes[0].box);
  for (const { box, plaintext } of boxes) assert.equal(toBase64(ours.open(fromBase64(box))), plaintext);
  for (const box of refused) assert.throws(() => ours.open(fromBase64(box)));
});

test("a challenge is answered with a signed Join", () => {
  const { us, posted } = first();
  const { challenge, incarnation, epoch, answer } = vectors.join;
  us.incarnation = fromBase64(incarnation);
  us.epoch = epoch;
  us.state = "connecting";
  us.hear(fromServer(challenge));
  const shown = Object.fromEntries(Object.entries(answer).filter(([name]) => name in posted[0]));
  assert.deepEqual(posted, [shown]);
  for (const [name, left] of Object.entries(answer)) if (!(name in shown)) assert.equal(left.length, 0, name); // as if left out
});

test("a proposal is heard, approved by its hash, and committed by both approvals", () => {
  const { us, kept, said, frame } = first();
  const { op, hash, proposed, approved, other, decided } = vectors.vote;
  frame(proposed);
  assert.equal(said("proposed")[0].op, op);
  assert.equal(toBase64(us.app.operations.get(op).hash), hash);
  us.app.vote(op, true);
  assert.equal(kept.get(`vote ${op}`), approved);
  assert.equal(said("committed").length, 0);
  frame(other);
  assert.equal(said("committed")[0].op, op);
  const late = first(); // who was away believes the certificate
  late.frame(decided);
  assert.equal(late.said("committed")[0].op, op);
  assert.throws(() => us.app.vote(op, false), /final/);
});

test("what nobody said is not believed", () => {
  for (const data of vectors.refused.frames) {
    const { said, frame } = first();
    frame(data);
    assert.equal(said("blamed").length, 1);
    assert.equal(said("proposed").length, 0);
  }
  for (const text of vectors.refused.texts) assert.throws(() => fromServer(JSON.parse(text)));
});
