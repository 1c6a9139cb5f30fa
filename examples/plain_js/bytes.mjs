// Bytes, and the two ways in which docs/wire.md writes values down: transcripts, which are hashed
// and signed, and MessagePack, which travels.

export const utf8 = (text) => {
  if (!text.isWellFormed()) throw new Error("text has half of a character");
  return new TextEncoder().encode(text);
};
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole;
}

export const same = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
export const toBase64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
export const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
export const bigEndian = (value, size) => {
  const bytes = new Uint8Array(size);
  let rest = BigInt.asUintN(8 * size, BigInt(value));
  for (let i = size - 1; i >= 0; i--) { bytes[i] = Number(rest & 255n); rest >>= 8n; }
  return bytes;
};
export const toBig = (bytes) => bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

// --- transcripts ------------------------------------------------------------------------------

// An integer in two's complement, with the fewest bytes that have room for its sign.
function shortest(value) {
  const big = BigInt(value);
  let size = 1;
  while (BigInt.asIntN(8 * size, big) !== big) size += 1;
  return bigEndian(big, size);
}

function part(value) {
  let [tag, body] = ["", null];
  if (value instanceof Uint8Array) [tag, body] = ["b", value];
  else if (typeof value === "string") [tag, body] = ["s", utf8(value)];
  else if (Number.isSafeInteger(value) || typeof value === "bigint") [tag, body] = ["i", shortest(value)];
  else if (Array.isArray(value)) [tag, body] = ["t", transcript(...value)];
  else throw new Error(`no part of a transcript: ${value}`);
  return joined(utf8(tag), bigEndian(body.length, 8), body);
}

export const transcript = (...parts) => joined(...parts.map(part));

// --- MessagePack ------------------------------------------------------------------------------

export function packed(value) {
  if (value === null) return Uint8Array.of(0xc0);
  if (typeof value === "boolean") return Uint8Array.of(value ? 0xc3 : 0xc2);
  if (typeof value === "string") {
    const text = utf8(value);
    return joined(text.length < 32 ? Uint8Array.of(0xa0 | text.length) : head(text.length, 0xd9, 0xda, 0xdb), text);
  }
  if (value instanceof Uint8Array) return joined(head(value.length, 0xc4, 0xc5, 0xc6), value);
  if (typeof value === "bigint" || Number.isSafeInteger(value)) return number(value);
  if (Array.isArray(value)) {
    const { length } = value;
    return joined(length < 16 ? Uint8Array.of(0x90 | length) : head(length, null, 0xdc, 0xdd), ...value.map(packed));
  }
  const fields = Object.entries(value);
  const { length } = fields;
  return joined(length < 16 ? Uint8Array.of(0x80 | length) : head(length, null, 0xde, 0xdf), ...fields.flat().map(packed));
}

function head(length, byte, two, four) {
  if (byte !== null && length < 1 << 8) return Uint8Array.of(byte, length);
  return length < 1 << 16 ? joined(Uint8Array.of(two), bigEndian(length, 2)) : joined(Uint8Array.of(four), bigEndian(length, 4));
}

function number(value) {
  if (value >= 0) {
    if (value < 128) return Uint8Array.of(Number(value));
    if (value < 2 ** 32) return joined(Uint8Array.of(0xce), bigEndian(value, 4));
    return joined(Uint8Array.of(0xcf), bigEndian(value, 8));
  }
  return joined(Uint8Array.of(0xd3), bigEndian(value, 8));
}

const DEEPEST = 32;

// One value, and nothing after it. Integers beyond 2⁵³ come as BigInt; floats and the like are refused.
export function unpacked(data) {
  let at = 0;
  const take = (count) => {
    if (at + count > data.length) throw new Error("MessagePack that ends too early");
    return data.subarray(at, (at += count));
  };
  const whole = (size) => Number(toBig(take(size)));
  const integer = (size, signed) => {
    const big = signed ? BigInt.asIntN(8 * size, toBig(take(size))) : toBig(take(size));
    return Number.isSafeInteger(Number(big)) ? Number(big) : big;
  };
  const text = (length) => strict.decode(take(length));
  const list = (length, depth) => {
    if (length > data.length - at) throw new Error("MessagePack that ends too early");
    return Array.from({ length }, () => value(depth + 1));
  };
  const map = (length, depth) => {
    const fields = Object.create(null);
    for (const [name, field] of Array.from({ length: Math.min(length, data.length) }, () => [value(depth + 1), value(depth + 1)])) {
      if (typeof name !== "string" || name in fields) throw new Error("a map with other keys than fields have");
      fields[name] = field;
    }
    return fields;
  };
  const value = (depth) => {
    if (depth > DEEPEST) throw new Error("MessagePack nested too deeply");
    const byte = take(1)[0];
    if (byte < 0x80) return byte;
    if (byte >= 0xe0) return byte - 256;
    if (byte < 0x90) return map(byte & 15, depth);
    if (byte < 0xa0) return list(byte & 15, depth);
    if (byte < 0xc0) return text(byte & 31);
    switch (byte) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return take(whole(1 << (byte - 0xc4))).slice();
      case 0xcc: case 0xcd: case 0xce: case 0xcf: return integer(1 << (byte - 0xcc), false);
      case 0xd0: case 0xd1: case 0xd2: case 0xd3: return integer(1 << (byte - 0xd0), true);
      case 0xd9: case 0xda: case 0xdb: return text(whole(1 << (byte - 0xd9)));
      case 0xdc: case 0xdd: return list(whole(2 << (byte - 0xdc)), depth);
      case 0xde: case 0xdf: return map(whole(2 << (byte - 0xde)), depth);
      default: throw new Error(`MessagePack of a kind that no message has: ${byte}`);
    }
  };
  const found = value(0);
  if (at !== data.length) throw new Error("MessagePack with more after its end");
  return found;
}

// --- shapes -----------------------------------------------------------------------------------

// Types of fields: what they must be, or an error. `list(t)`, `struct(…)` and `oneOf(…)` make more.
const wrong = (what) => { throw new Error(`malformed message: ${what}`); };
export const types = {
  text: (v) => (typeof v === "string" ? v : wrong("not a text")),
  bytes: (v) => (v instanceof Uint8Array ? v : wrong("not bytes")),
  base64: (v) => fromBase64(types.text(v)),
  count: (v) => (Number.isSafeInteger(v) && v >= 0 ? v : wrong("not a count")),
  bool: (v) => (typeof v === "boolean" ? v : wrong("neither true nor false")),
  optional: (type) => (v) => (v === null ? null : type(v)),
  list: (type, most = 4096) => (v) => (Array.isArray(v) && v.length <= most ? v.map(type) : wrong("not a list")),
  pair: (a, b) => (v) => (Array.isArray(v) && v.length === 2 ? [a(v[0]), b(v[1])] : wrong("not a pair")),
};

// One of several messages, by its `type`; `field: [type, default]` may be left out.
export const oneOf = (messages) => (given) => {
  if (typeof given !== "object" || given === null || !Object.hasOwn(messages, given.type)) wrong(`type ${given?.type}`);
  const fields = messages[given.type];
  const read = { type: given.type };
  for (const name of Object.keys(given)) if (name !== "type" && !Object.hasOwn(fields, name)) wrong(`unknown field ${name}`);
  for (const [name, type] of Object.entries(fields)) {
    const [check, ...standard] = [type].flat();
    if (Object.hasOwn(given, name)) read[name] = check(given[name]);
    else if (standard.length) [read[name]] = standard;
    else wrong(`no ${name}`);
  }
  return read;
};
