// A party of FROST key generation and signing written with @noble/curves alone: a command in JSON
// on each line of stdin, its answer on a line of stdout. All bytes are in hex.
import { ed25519_FROST, ristretto255_FROST } from '@noble/curves/ed25519.js';
import { schnorr_FROST, secp256k1_FROST } from '@noble/curves/secp256k1.js';
import { bytesToHex as hex, hexToBytes as bytes } from '@noble/curves/utils.js';
import { createInterface } from 'node:readline';

const suites = {
  'FROST(Ed25519, SHA-512)': ed25519_FROST,
  'FROST(ristretto255, SHA-512)': ristretto255_FROST,
  'FROST(secp256k1, SHA-256)': secp256k1_FROST,
  'FROST(secp256k1, BIP 340)': schnorr_FROST,
};
const [suite, me, min, max] = process.argv.slice(2);
const frost = suites[suite];
const id = (n) => frost.Identifier.fromNumber(Number(n));
const signers = { min: Number(min), max: Number(max) };
const mine = frost.DKG.round1(id(me), signers);
const dealings = (others) =>
  others.map((o) => ({
    identifier: id(o.party),
    commitment: o.commitments.map(bytes),
    proofOfKnowledge: bytes(o.proof),
  }));
const listed = (list) =>
  list.map((c) => ({ identifier: id(c.party), hiding: bytes(c.hiding), binding: bytes(c.binding) }));
let others, key, nonces;

const commands = {
  deal: () => ({
    commitments: mine.public.commitment.map(hex),
    proof: hex(mine.public.proofOfKnowledge),
  }),
  shares: ({ from }) => {
    others = dealings(from);
    const sent = frost.DKG.round2(mine.secret, others);
    return Object.fromEntries(from.map((o) => [o.party, hex(sent[id(o.party)].signingShare)]));
  },
  finish: ({ shares }) => {
    const received = Object.entries(shares).map(([party, share]) => ({
      identifier: id(party),
      signingShare: bytes(share),
    }));
    key = frost.DKG.round3(mine.secret, others, received);
    return { commitments: key.public.commitments.map(hex), share: hex(key.secret.signingShare) };
  },
  commit: () => {
    const made = frost.commit(key.secret);
    nonces = made.nonces;
    return { hiding: hex(made.commitments.hiding), binding: hex(made.commitments.binding) };
  },
  sign: ({ list, message }) =>
    hex(frost.signShare(key.secret, key.public, nonces, listed(list), bytes(message))),
  aggregate: ({ list, message, shares }) => {
    const all = Object.fromEntries(Object.entries(shares).map(([p, z]) => [id(p), bytes(z)]));
    return hex(frost.aggregate(key.public, listed(list), bytes(message), all));
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line);
  console.log(JSON.stringify(commands[command](rest)));
}
