// What travels, field by field, as in docs/wire.json; unknown fields are refused.

import { oneOf, types } from "./bytes.mjs";

const { text, bytes, base64, count, bool, optional, list, pair } = types;

// --- JSON, from the server --------------------------------------------------------------------

const member = oneOf({ Member: { party: count, key: base64, incarnation: base64, epoch: count, presence: base64, online: [bool, true] } });
const raw = (payload) => payload;

export const fromServer = oneOf({
  Challenge: { nonce: base64, version: [count, 1] },
  Welcome: {
    session: text, party: count, members: list(member), revision: count, now: count,
    ping_every: [count, 1e7], rate: [count, 0], burst: [count, 0],
  },
  Refused: { reason: text, hint: [text, ""], final: [bool, true] },
  Roster: { members: list(member), revision: count },
  PeerJoined: { member, revision: count },
  PeerLeft: { party: count, why: text, gone: bool, revision: count },
  Relayed: { sender: count, payload: raw },
  Announced: { sender: count, payload: raw },
  LeftOut: { to: count },
  Ping: { revision: count },
  Wanted: { life: count, since: count },
});

export const payloads = oneOf({
  Offer: { epoch: count, to_incarnation: base64, nonce: base64, attempt: count, expires: count, sdp: text, signature: base64 },
  Answer: { epoch: count, to_incarnation: base64, nonce: base64, offer: base64, sdp: text, signature: base64 },
  Sealed: { incarnations: base64, box: base64 },
  Text: { to: count, number: count, text, signature: base64 },
});

// --- MessagePack, between parties -------------------------------------------------------------

export const boxed = oneOf({
  Piece: { offset: count, data: bytes, last: bool },
  Hello: { reply: bool, relay: bool, nonce: [bytes, new Uint8Array(0)] },
  Candidates: { offer: bytes, candidates: list(text, 32) },
  OfferRequest: { offer: bytes },
  Taken: { number: count },
});

export const onLink = oneOf({
  Confirm: { offer: bytes, mine: text, yours: text, signature: bytes, seen: [bool, false] },
  Beat: {},
  Rehomed: { url: text },
});

export const pieces = oneOf({ Piece: { of: count, path: list(text, 16), offset: count, data: bytes, last: bool } });

const plain = (v) => (Array.isArray(v) ? v.map(plain) : typeof v === "bigint" || Number.isSafeInteger(v) ? v : text(v));
const proposal = oneOf({ Proposal: { session: text, attempt: text, by: count, lamport: count, kind: text, params: list(pair(text, plain)), deadline: count } });
const signedProposal = { proposal, signature: bytes };
const vote = { op: text, proposal_hash: bytes, voter: count, approve: bool, reason: text, signature: bytes };
const withdrawal = { op: text, proposal_hash: bytes, party: count, missing: list(count), signature: bytes };
const nested = (type, fields) => oneOf({ [type]: fields });
const signed = nested("SignedProposal", signedProposal);
const votes = list(nested("SignedVote", vote));
const withdrawals = list(nested("Withdrawal", withdrawal));
const ending = oneOf({
  Certificate: { signed, approvals: list(pair(count, bytes)) },
  AbortCertificate: { signed, against: votes, withdrawals },
  Refusal: { signed, reason: text, rejected: [list(count), []], missing: [list(count), []] },
});

export const inSession = oneOf({
  SignedProposal: signedProposal,
  SignedVote: vote,
  Withdrawal: withdrawal,
  Fetch: { op: text, have: [list(count), []], withdrawn: [list(count), []], has_proposal: [bool, false] },
  ProposalState: { signed, votes, withdrawals: [withdrawals, []], expired: [bool, false] },
  DecidedDigest: { digest: bytes },
  Summary: { digests: bytes, open: list(text), expired: [list(text), []] },
  DecidedIds: { bucket: count, ids: list(text) },
  FetchDecided: { ops: list(text) },
  DecidedBatch: { entries: list(nested("DecidedEntry", { ending, index: [optional(count), null], executed: [bool, false] })) },
  ResultRequest: { ops: list(text) },
  Report: { op: text, ok: bool, text, data: bytes },
});
