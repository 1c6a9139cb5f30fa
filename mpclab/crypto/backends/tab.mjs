// What `tab.py`, beside this file, imports as `mpclab_primitives`: libsodium.js and noble-curves
// behind functions that take and give hex, which crosses between JavaScript and Python four times
// as fast as 32 bytes do. Long messages come as Uint8Array. `undefined`: there is no answer.

const DIGITS = "0123456789abcdef";
const HEX = Array.from({ length: 256 }, (_, byte) => DIGITS[byte >> 4] + DIGITS[byte & 15]);
const VALUE = new Uint8Array(128);
for (let i = 0; i < 16; i++) VALUE[DIGITS.charCodeAt(i)] = i;

const toHex = (bytes) => {
  let text = "";
  for (let i = 0; i < bytes.length; i++) text += HEX[bytes[i]];
  return text;
};

const toBytes = (data) => {
  if (typeof data !== "string") return data;
  const bytes = new Uint8Array(data.length >> 1);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = (VALUE[data.charCodeAt(2 * i)] << 4) | VALUE[data.charCodeAt(2 * i + 1)];
  }
  return bytes;
};

const orNull = (compute) => (...args) => {
  try {
    return compute(...args);
  } catch {
    return undefined;
  }
};

const hexed = (compute) => orNull((...args) => toHex(compute(...args.map(toBytes))));

// The libraries, once they are loaded (`await sodium.ready`), as what Python imports.
export function primitives(sodium, secp256k1, ed25519) {
  const Point = secp256k1.Point;
  const number = (hex) => BigInt(`0x${hex}`);
  const point = (hex) => Point.fromBytes(toBytes(hex));
  return {
    sign_keypair: orNull((seed) => {
      const pair = sodium.crypto_sign_seed_keypair(toBytes(seed));
      return toHex(pair.publicKey) + toHex(pair.privateKey);
    }),
    seed_of: hexed((secret) => sodium.crypto_sign_ed25519_sk_to_seed(secret)),
    sign: hexed((message, secret) => sodium.crypto_sign_detached(message, secret)),
    verify: orNull((signature, message, key) =>
      sodium.crypto_sign_verify_detached(toBytes(signature), toBytes(message), toBytes(key))),
    x25519_secret: hexed((secret) => sodium.crypto_sign_ed25519_sk_to_curve25519(secret)),
    x25519_public: hexed((key) => sodium.crypto_sign_ed25519_pk_to_curve25519(key)),
    x25519: hexed((secret, key) => sodium.crypto_scalarmult(secret, key)),
    aead_encrypt: orNull((message, aad, nonce, key) =>
      sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
        toBytes(message), toBytes(aad), null, toBytes(nonce), toBytes(key))),
    aead_decrypt: orNull((sealed, aad, nonce, key) =>
      sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
        null, toBytes(sealed), toBytes(aad), toBytes(nonce), toBytes(key))),
    password_key: hexed((password, salt) => sodium.crypto_pwhash(
      32, password, salt, sodium.crypto_pwhash_OPSLIMIT_MODERATE,
      sodium.crypto_pwhash_MEMLIMIT_MODERATE, sodium.crypto_pwhash_ALG_ARGON2ID13)),
    ed25519_is_valid: orNull((one) => sodium.crypto_core_ed25519_is_valid_point(toBytes(one))),
    ed25519_base_mult: hexed((scalar) => sodium.crypto_scalarmult_ed25519_base_noclamp(scalar)),
    ed25519_mult: hexed((scalar, one) => sodium.crypto_scalarmult_ed25519_noclamp(scalar, one)),
    ed25519_add: hexed((left, right) => sodium.crypto_core_ed25519_add(left, right)),
    ed25519_sub: hexed((left, right) => sodium.crypto_core_ed25519_sub(left, right)),
    secp256k1_is_valid: orNull((one) => {
      point(one).assertValidity();
      return true;
    }),
    secp256k1_base_mult: orNull((scalar) => toHex(Point.BASE.multiply(number(scalar)).toBytes())),
    secp256k1_mult: orNull((scalar, one) =>
      toHex(point(one).multiplyUnsafe(number(scalar)).toBytes())),
    // "": infinity, which has no encoding here.
    secp256k1_sum: orNull((points) => {
      let total = Point.ZERO;
      for (let at = 0; at < points.length; at += 66) total = total.add(point(points.slice(at, at + 66)));
      return total.is0() ? "" : toHex(total.toBytes());
    }),
    // RFC 8032 §5.1.7 with the cofactor left out, as libsodium and OpenSSL do.
    ed25519_accepts: orNull((key, message, signature) => ed25519.verify(
      toBytes(signature), toBytes(message), toBytes(key), { zip215: false })),
    // Whether z·G - c·P is R.
    schnorr_accepts: orNull((key, commitment, challenge, response) => {
      const [c, z] = [number(challenge), number(response)];
      const left = z ? Point.BASE.multiplyUnsafe(z) : Point.ZERO;
      const right = c ? point(key).multiplyUnsafe(c) : Point.ZERO;
      return left.subtract(right).equals(point(commitment));
    }),
  };
}
