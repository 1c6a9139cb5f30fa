// What is proposed, votes on it, and how it ended. A vote signs the hash of the whole proposal.

import { hex, same, toBase64, toBig, fromBase64, packed, unpacked } from "./bytes.mjs";
import { digest, random, verify } from "./identity.mjs";
import { inSession } from "./messages.mjs";

const ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz";
const SELF_EVIDENT = ["note", "response", "coin"]; // no rule but the policy says whether they are approved
const MOST = 1000; // operations that we keep
const UNHEARD = 64; // of them, with a vote of one party and no proposal
const letters = (text) => [...text].length; // as everybody counts them
const readable = (value) => (Array.isArray(value) ? value.map(readable) : typeof value === "bigint" ? String(value) : value);
const INSIDE = ["2pc", "3pc"]; // protocols whose own first phase is the vote

export class Session {
  constructor(us) {
    this.us = us;
    if (INSIDE.includes(us.agreement)) throw new Error(`${us.agreement} votes by itself: this client cannot take part`);
    this.needed = us.policy === "unanimous" ? us.n : Number(/\d+/.exec(us.policy)[0]);
    if (this.needed < 1 || this.needed > us.n) throw new Error(`policy ${us.policy}: there are ${us.n} parties`);
    // So many parties that tell an ending alike are believed: one of them is honest.
    this.tellers = ["direct", "raft", "paxos", "vr"].includes(us.agreement) ? 1 : Math.floor((us.n - 1) / 3) + 1;
    this.clock = 0;
    this.operations = new Map();
    setInterval(() => this.ask(), 1000).unref?.();
  }

  // --- hashes ---------------------------------------------------------------------------------

  hashOf(p) {
    return digest("mpclab proposal", p.session, p.attempt, p.by, p.lamport, p.kind, p.params, p.deadline);
  }

  idOf(by, attempt) {
    let number = toBig(digest("mpclab operation", this.us.session, by, attempt));
    let letters = "";
    for (let i = 0; i < 10; i++) {
      letters += ALPHABET[Number(number % 31n)];
      number /= 31n;
    }
    return letters;
  }

  partsOf({ op, proposal_hash, approve, reason }) {
    return approve ? ["mpclab approval", [this.us.session, op, proposal_hash]]
      : ["mpclab rejection", [this.us.session, op, proposal_hash, reason]];
  }

  // --- what others say ------------------------------------------------------------------------

  hear(sender, message) {
    switch (message.type) {
      case "SignedProposal": this.proposed(message); break;
      case "SignedVote": this.voted(message); break;
      case "ProposalState":
        this.proposed(message.signed);
        for (const vote of message.votes) this.voted(vote);
        break;
      case "Fetch": this.state(sender, message); break;
      case "Summary":
        for (const op of message.open) if (!this.operations.get(op)?.signed) this.us.send(sender, { type: "Fetch", op });
        break;
      case "DecidedIds": {
        const wanted = message.ids.filter((op) => !this.operations.get(op)?.ended);
        if (wanted.length) this.us.send(sender, { type: "FetchDecided", ops: wanted });
        break;
      }
      case "DecidedBatch": for (const entry of message.entries) this.ended(sender, entry); break;
      default: break; // what we do not take part in
    }
  }

  operation(op) {
    let o = this.operations.get(op);
    if (o === undefined) {
      if (this.operations.size >= MOST) {
        const all = [...this.operations];
        const [old] = all.find(([, it]) => it.ended) ?? all.find(([, it]) => it.signed === null) ?? all[0];
        this.operations.delete(old);
      }
      o = { op, signed: null, hash: null, votes: new Map(), mine: null, certified: false, ended: "", told: new Map() };
      this.operations.set(op, o);
    }
    return o;
  }

  checkProposal({ proposal, signature }) {
    const { us } = this;
    const { session, attempt, by, lamport, kind, params, deadline } = proposal;
    if (session !== us.session) throw new Error("a proposal for another session");
    if (lamport < 1 || deadline < 100_000 || deadline > 3_600_000_000 || attempt.length < 1 || letters(attempt) > 64 || letters(kind) > 64) throw new Error("a proposal out of bounds");
    if (new Set(params.map(([name]) => name)).size < params.length) throw new Error("a proposal with two values of one name");
    const key = us.keys.get(by);
    if (key === undefined) throw new Error(`a proposal of party ${by}, whose key is unknown`);
    const hash = this.hashOf(proposal);
    if (!verify(key, "mpclab proposal signature", [hash], signature)) throw new Error(`a proposal that party ${by} did not sign`);
    return hash;
  }

  checkVote(vote) {
    const key = this.us.keys.get(vote.voter);
    const [label, parts] = this.partsOf(vote);
    if (letters(vote.reason) > 200 || (vote.approve && vote.reason) || vote.op.length !== 10) throw new Error("a vote out of bounds");
    if (key === undefined || !verify(key, label, parts, vote.signature)) throw new Error(`a vote that party ${vote.voter} did not sign`);
  }

  // Enough genuine words against it; where nothing orders them, of those who rejected alone.
  checkAbort({ against, withdrawals }, op, hash) {
    const ordered = this.us.agreement !== "direct";
    for (const vote of against) {
      this.checkVote(vote);
      if (vote.op !== op || (vote.approve && (!ordered || same(vote.proposal_hash, hash)))) throw new Error("an abort by a vote that is not against");
    }
    for (const { op: of, proposal_hash, party, missing, signature } of withdrawals) {
      const key = this.us.keys.get(party);
      const parts = [this.us.session, of, proposal_hash, missing];
      if (!ordered || of !== op || !same(proposal_hash, hash) || !key || !verify(key, "mpclab withdrawal", parts, signature)) throw new Error(`an abort by a withdrawal that party ${party} did not sign`);
    }
    const gone = new Set(withdrawals.map(({ party }) => party));
    const no = new Set(against.map(({ voter }) => voter));
    const all = new Set([...no, ...gone]);
    if (no.size < against.length || gone.size < withdrawals.length || (all.size <= this.us.n - this.needed && gone.size <= Math.floor(this.us.n / 2))) {
      throw new Error(`an abort by ${all.size} parties, which are too few`);
    }
  }

  proposed(signed) {
    const hash = this.checkProposal(signed);
    const { proposal } = signed;
    const o = this.operation(this.idOf(proposal.by, proposal.attempt));
    if (o.signed !== null) {
      if (!same(o.hash, hash)) this.us.blame(proposal.by, `proposed two things under one id, ${o.op}`);
      return;
    }
    this.hold(o, signed, hash);
  }

  // This is what is proposed under an operation's id; what is told is what is signed.
  hold(o, signed, hash) {
    const { proposal } = signed;
    [o.signed, o.hash] = [signed, hash];
    this.clock = Math.max(this.clock, proposal.lamport);
    const before = this.us.store.get(`vote ${o.op}`); // in an earlier life: a party votes once
    if (before !== null && o.mine === null) {
      o.mine = inSession(unpacked(fromBase64(before)));
      o.votes.set(this.us.party, o.mine);
    }
    this.us.told("proposed", { op: o.op, by: proposal.by, kind: proposal.kind, params: Object.fromEntries(proposal.params.map(([name, value]) => [name, readable(value)])), hash: hex(hash) });
    this.weigh(o);
  }

  voted(vote) {
    this.checkVote(vote);
    if (!this.operations.has(vote.op)) {
      const unheard = [...this.operations.values()].filter((o) => o.signed === null && o.votes.has(vote.voter));
      if (unheard.length >= UNHEARD) return;
    }
    const o = this.operation(vote.op);
    if (vote.voter === this.us.party) o.mine ??= vote; // ours, of which we had lost all trace
    const before = o.votes.get(vote.voter);
    if (before !== undefined) {
      if (before.approve !== vote.approve || !same(before.proposal_hash, vote.proposal_hash)) this.us.blame(vote.voter, `voted both ways on ${o.op}`);
      return;
    }
    o.votes.set(vote.voter, vote);
    if (o.signed === null) this.us.send(vote.voter, { type: "Fetch", op: o.op });
    this.us.told("voted", { op: o.op, party: vote.voter, approve: vote.approve });
    this.weigh(o);
  }

  // Enough approvals of this very proposal are a certificate.
  weigh(o) {
    if (o.signed === null || o.certified) return;
    const approvals = [...o.votes.values()].filter((vote) => vote.approve && same(vote.proposal_hash, o.hash));
    if (approvals.length < this.needed) return;
    o.certified = true;
    this.us.told("approved", { op: o.op, by: approvals.map((vote) => vote.voter).sort((a, b) => a - b) });
    // With `direct` that is all: every party commits by itself.
    if (this.us.agreement === "direct" && SELF_EVIDENT.includes(o.signed.proposal.kind)) this.conclude(o, "committed", null);
  }

  // Somebody tells how an operation ended. What it shows for that is checked.
  ended(sender, { ending, index }) {
    const hash = this.checkProposal(ending.signed);
    const { proposal } = ending.signed;
    const o = this.operation(this.idOf(proposal.by, proposal.attempt));
    if (ending.type === "Certificate") {
      const seen = new Set();
      for (const [voter, signature] of ending.approvals) {
        if (seen.has(voter)) throw new Error("a certificate that counts a party twice");
        this.checkVote({ op: o.op, proposal_hash: hash, voter, approve: true, reason: "", signature });
        seen.add(voter);
      }
      if (seen.size < this.needed) throw new Error(`a certificate with ${seen.size} approvals of ${this.needed}`);
    } else if (ending.type === "AbortCertificate") this.checkAbort(ending, o.op, hash);
    else if (this.us.agreement === "direct") throw new Error("a refusal by a protocol that there is not");
    o.told.set(sender, JSON.stringify([ending.type, hex(hash), index]));
    const alike = [...o.told.values()].filter((one) => one === o.told.get(sender)).length;
    if (o.signed === null) this.hold(o, ending.signed, hash);
    else if (!same(o.hash, hash)) {
      this.us.blame(proposal.by, `proposed two things under one id, ${o.op}`);
      if (alike >= this.tellers && !o.ended) this.hold(o, ending.signed, hash); // the other one is what ended
    }
    if (alike >= this.tellers) this.conclude(o, ending.type === "Certificate" ? "committed" : "aborted", index);
  }

  conclude(o, how, index) {
    if (o.ended) return;
    o.ended = how;
    this.us.told(how, { op: o.op, kind: o.signed.proposal.kind, hash: hex(o.hash), index });
  }

  // --- what we say ----------------------------------------------------------------------------

  // Ask for an operation; `params` by name. Its id.
  propose(kind, params, seconds = 60) {
    const { us } = this;
    const attempt = hex(random(8));
    const proposal = {
      type: "Proposal", session: us.session, attempt, by: us.party, lamport: this.clock + 1, kind,
      params: Object.entries(params).sort(([a], [b]) => (a < b ? -1 : 1)), deadline: Math.round(seconds * 1e6),
    };
    const signature = us.identity.sign("mpclab proposal signature", this.hashOf(proposal));
    const signed = { type: "SignedProposal", proposal, signature };
    us.broadcast(signed);
    this.proposed(signed);
    const op = this.idOf(us.party, attempt);
    if (this.operation(op).mine === null) this.vote(op, true); // whoever was told may have voted
    return op;
  }

  // Vote, for good: it is stored before it is sent.
  // `shown`: the hash, in hexadecimal, of the proposal that whoever votes has seen.
  vote(op, approve, reason = "", shown = null) {
    const o = this.operations.get(op);
    if (!o?.signed) throw new Error(`operation ${op} is not known`);
    if (shown !== null && shown !== hex(o.hash)) throw new Error(`operation ${op} is not what was shown`);
    const { us } = this;
    if (o.mine !== null || us.store.get(`vote ${op}`) !== null) throw new Error(`we voted on ${op} already; a vote is final`);
    const vote = { type: "SignedVote", op, proposal_hash: o.hash, voter: us.party, approve, reason: approve ? "" : [...reason].slice(0, 200).join("") };
    const [label, parts] = this.partsOf(vote);
    vote.signature = us.identity.sign(label, ...parts);
    us.store.set(`vote ${op}`, toBase64(packed(vote)));
    o.mine = vote;
    us.broadcast(vote);
    this.voted(vote);
  }

  // A peer can be reached (again): we say what is open here, and hear what is decided there.
  greet(party) {
    const open = [...this.operations.values()].filter((o) => o.signed !== null && !o.ended).map((o) => o.op);
    this.us.send(party, { type: "Summary", digests: new Uint8Array(256), open, expired: [] });
  }

  state(to, { op, have, has_proposal }) {
    const o = this.operations.get(op);
    if (!o?.signed) {
      if (has_proposal) this.us.send(to, { type: "Fetch", op });
      return;
    }
    const votes = [...o.votes.values()].filter((vote) => !have.includes(vote.voter)).map((vote) => ({ ...vote, type: "SignedVote" }));
    if (votes.length || !has_proposal) this.us.send(to, { type: "ProposalState", signed: { ...o.signed, type: "SignedProposal" }, votes, withdrawals: [], expired: false });
  }

  // While something is open: ask others for votes that we lack, and for its end.
  ask() {
    for (const o of this.operations.values()) {
      if (o.ended || o.signed === null) continue;
      if (o.certified) this.us.broadcast({ type: "FetchDecided", ops: [o.op] });
      else this.us.broadcast({ type: "Fetch", op: o.op, have: [...o.votes.keys()].sort((a, b) => a - b), withdrawn: [], has_proposal: true });
    }
  }
}
