// A party's Ed25519 key, what it signs, and the boxes that it seals.

import { xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import { ed25519, x25519 } from "@noble/curves/ed25519.js";
import { blake2b } from "@noble/hashes/blake2.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bigEndian, joined, toBig, transcript, utf8 } from "./bytes.mjs";

const PREFIX = utf8("mpclab transcript v1\0");
const PERSON = joined(utf8("mpclab seal v1"), new Uint8Array(2)); // BLAKE2b's personalization is 16 bytes

export { sha256 };
export const random = (count) => globalThis.crypto.getRandomValues(new Uint8Array(count));

// A hash of structured data under a label.
export const digest = (label, ...parts) => sha256(joined(PREFIX, transcript(label, ...parts)));
const signed = (label, parts) => digest("mpclab signature", label, parts);

// Whether the owner of `key` signed these parts under this label.
export function verify(key, label, parts, signature) {
  if (key.length !== 32 || signature.length !== 64) return false;
  try {
    return ed25519.verify(signature, signed(label, parts), key, { zip215: false });
  } catch { return false; }
}

export class Identity {
  constructor(seed) {
    this.seed = seed;
    this.public = ed25519.getPublicKey(seed);
  }

  sign(label, ...parts) { return ed25519.sign(signed(label, parts), this.seed); }

  // X25519 with a peer's Ed25519 key, the same for both.
  shared(peer) {
    const { utils } = ed25519;
    return x25519.getSharedSecret(utils.toMontgomerySecret(this.seed), utils.toMontgomery(peer));
  }
}

// One side of a sealed channel between two identities, in a context that both know.
export class Seal {
  constructor(identity, peer, context) {
    const shared = identity.shared(peer);
    const keys = (from, to) => {
      const both = blake2b(transcript(from, to, context), { key: shared, dkLen: 64, personalization: PERSON });
      return { key: both.slice(0, 32), nonces: both.slice(32) };
    };
    this.out = keys(identity.public, peer);
    this.in = keys(peer, identity.public);
    this.context = sha256(context);
    this.sent = 0n;
    this.opened = 0n; // the highest number that has come: nothing opens twice, or backwards
  }

  seal(plaintext) {
    const header = bigEndian(this.sent += 1n, 8);
    const nonce = blake2b(joined(header, plaintext), { key: this.out.nonces, dkLen: 24 });
    const box = xchacha20poly1305(this.out.key, nonce, joined(header, this.context)).encrypt(plaintext);
    return joined(header, nonce, box);
  }

  open(sealed) {
    if (sealed.length < 48) throw new Error("a sealed message has at least 48 bytes");
    const [header, nonce, box] = [sealed.slice(0, 8), sealed.slice(8, 32), sealed.slice(32)];
    const plaintext = xchacha20poly1305(this.in.key, nonce, joined(header, this.context)).decrypt(box);
    const number = toBig(header);
    if (number <= this.opened) throw new Error("a box that was opened or passed over before");
    this.opened = number;
    return plaintext;
  }
}
