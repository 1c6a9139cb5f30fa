// Hostile words at `air.js` and `code.js`: node fuzz.mjs STATIC. Whatever comes by the air, by a wire
// or as a code ends nothing: no exception leaves, and what Python is told is well formed.

import { pathToFileURL } from "node:url";

const from = (name) => import(pathToFileURL(`${process.argv[2]}/${name}`));
const channels = new Set();
globalThis.BroadcastChannel = class {
  constructor(name) { this.name = name; channels.add(this); }
  postMessage(data) { for (const other of channels) if (other !== this && other.name === this.name) other.onmessage?.({ data }); }
  close() { channels.delete(this); }
};
globalThis.RTCPeerConnection = class {
  createDataChannel() { return { readyState: "open", bufferedAmount: 0, send() {} }; }
  close() {}
};
const { Air, Listener, Neighbour, Wire } = await from("air.js");
const { packed, unpacked } = await from("code.js");

let seed = 1; // mulberry32
const random = () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};
const pick = (list) => list[Math.floor(random() * list.length)];
const escaped = [];
for (const what of ["unhandledRejection", "uncaughtException"]) process.on(what, (error) => escaped.push(`${error.stack}`));

// --- the air, and wires -------------------------------------------------------------------------

const told = [];
let next = 1;
const page = {
  links: new Map(),
  tell: (...event) => told.push(event),
  ask: async () => pick([0, next++, next++]),
};
const listener = new Listener(page, "x");
const wire = new Wire([], () => {});
listener.wires.add(wire);
listener.listen(wire.end(), 8, () => "wire 0");
const stranger = new Air("x");
const odd = [undefined, null, 0, -1, NaN, "", "server", "open", "text", "close", "anybody", "gone", "accept", "__proto__", "constructor",
  [], {}, { to: "server" }, true, () => 1, Symbol.iterator, new Uint8Array(3), 10n ** 30n];
const ids = ["a", "b", "c", "__proto__", "server"];
const hostile = () => pick([
  () => pick(odd),
  () => ({ to: pick(["server", pick(odd)]), from: pick([...ids, pick(odd)]), what: pick(["open", "text", "close", "anybody", "gone", pick(odd)]), text: pick(["x", pick(odd)]) }),
  () => ({ to: "server", from: pick(ids), what: pick(["open", "text", "close"]), text: `{"id":${next},"msg":{}}` }),
])();
for (let i = 0; i < 3000; i++) {
  stranger.channel.postMessage(hostile());
  let line;
  try { line = pick([() => JSON.stringify(hostile()), () => "[".repeat(5_000), () => "\u0000{", () => hostile()])(); } catch { line = "{"; }
  wire.hear(line);
  if (i % 4 === 0) await new Promise(setImmediate);
  const [links] = [[...page.links.values()]];
  if (links.length > 3) pick(links).close("x");
}
stranger.channel.postMessage({ to: "server", from: "a", what: "open", text: "a".repeat(2 ** 20 + 1) });
const client = new Neighbour((...event) => told.push(event), 7, new Air("x"), 50);
for (let i = 0; i < 2000; i++) client.air.hears({ to: pick([client.id, "x"]), from: "", what: pick(["accept", "text", "server", "", "x"]), text: "y" });
client.end("enough");

// --- codes --------------------------------------------------------------------------------------

const sdp = ["a=ice-ufrag:abcd", "a=ice-pwd:abcdefghijklmnopqrstuvwx", `a=fingerprint:sha-256 ${Array(32).fill("AB").join(":")}`,
  "a=candidate:1 1 udp 2122 192.0.2.1 5000 typ host", "a=candidate:2 1 udp 100 host.local 9 typ srflx"].join("\r\n");
const good = packed("offer", sdp);
const what = JSON.parse(atob(good.replaceAll("-", "+").replaceAll("_", "/")));
const lines = /^(v=0|o=- 1 2 IN IP4 127\.0\.0\.1|s=-|t=0 0|[cm]=[\w/ .-]+|a=[\w:/+. -]+|)$/;
const found = [];
let [taken, refused] = [0, 0];
const tryCode = (code) => {
  try {
    const made = unpacked(code, pick(["offer", "answer"]));
    taken += 1;
    for (const line of made.split("\r\n")) if (!lines.test(line)) found.push(line);
  } catch (error) {
    refused += 1;
    if (error.constructor !== Error) found.push(`${error}`);
  }
};
const nasty = [...odd, "x\r\na=candidate:9 1 udp 1 1.1.1.1 1 typ host", "1.1.1.1\n", 65536, -1, 1.5, 2 ** 32, ["1.1.1.1", 1, 0, 1], ["1.1.1.1", 1, 9, 1], Array(17).fill(["1.1.1.1", 1, 0, 1])]
  .filter((one) => typeof one !== "function" && typeof one !== "symbol" && typeof one !== "bigint");
const encode = (value) => btoa(unescape(encodeURIComponent(JSON.stringify(value) ?? "")));
for (let i = 0; i < 1000; i++) {
  const changed = structuredClone(what);
  const place = Math.floor(random() * changed.length);
  if (place === 5 && random() < 0.7) changed[5][0] = random() < 0.5 ? pick(nasty) : Object.assign([...changed[5][0]], { [Math.floor(random() * 4)]: pick(nasty) });
  else changed[place] = pick(nasty);
  tryCode(encode(changed));
  const cut = Math.floor(random() * good.length);
  tryCode(good.slice(0, cut) + pick(["", "A", "=", "\u00e9", "%"]) + good.slice(cut + 1));
}
for (const code of ["", " ", "=", "a".repeat(1e5), btoa("[".repeat(2900)), btoa("null"), good]) tryCode(code);
await new Promise((resolve) => { setTimeout(resolve, 100); });

const kinds = { received: [Number.isInteger, (t) => typeof t === "string"], greeted: [Number.isInteger, (t) => typeof t === "string"], closed: [Number.isInteger, (t) => typeof t === "string"], opened: [Number.isInteger, (t) => t === ""] };
const malformed = told.filter(([kind, ...rest]) => !kinds[kind] || !kinds[kind].every((is, i) => is(rest[i])));
process.stdout.write(JSON.stringify({ escaped, malformed, found, taken, refused, told: told.length, clients: listener.clients.size }), () => process.exit(0));
