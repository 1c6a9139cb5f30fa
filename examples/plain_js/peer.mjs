// One other party: its key, its incarnation, sealed boxes by the server, and the direct link.
//
// The lower number offers. A link carries nothing before both ends have signed, on it, the two DTLS
// fingerprints; until it does, frames travel in sealed pieces by the server.

import { hex, packed, same, toBase64, transcript, unpacked } from "./bytes.mjs";
import { Seal, digest, random, sha256, verify } from "./identity.mjs";
import { boxed, onLink } from "./messages.mjs";

const VERSION = 1;
const WINDOW = 512 * 1024; // bytes of frames on their way by the server
const PIECE = 32 * 1024;
const LARGEST = 8 * 1024 * 1024 + 2048;
const GATHERING = 1500; // ms
const ATTEMPT = 10_000; // ms that a link may take
const BEAT = 2000;
const DEAD = 15_000;
const MET = 16; // incarnations of one peer that are kept

export function fingerprints(sdp) {
  if (sdp.length > 16 * 1024) throw new Error("a description that is too long");
  const found = new Set();
  for (const [, name, value] of sdp.matchAll(/^a=fingerprint:(\S{1,16}) ([0-9A-Fa-f:]{1,255})\r?$/gm)) {
    found.add(`${name.toLowerCase()} ${value.toUpperCase()}`);
  }
  if (found.size < 1 || found.size > 8) throw new Error(`a description with ${found.size} fingerprints`);
  return [...found].sort().map((one) => one.split(" "));
}

// A description as it travels: no candidates, and no address where they repeat it.
function bare(sdp) {
  return sdp.split(/\r?\n/).filter((line) => line && !/^a=(candidate|end-of-candidates)/.test(line))
    .map((line) => (line.startsWith("c=") ? "c=IN IP4 0.0.0.0" : line.replace(/^m=(\S+) \d+/, "m=$1 9"))).join("\r\n") + "\r\n";
}
const candidatesOf = (sdp) => [...new Set([...sdp.matchAll(/^a=(candidate:.*?)\r?$/gm)].map(([, line]) => line))].slice(0, 32);

// One incarnation of a peer, and the sealed channel between it and ours.
class Incarnation {
  constructor(us, member) {
    this.member = member;
    this.name = hex(member.incarnation);
    const [out, back] = [[us.party, member.party, us.incarnation, member.incarnation], [member.party, us.party, member.incarnation, us.incarnation]];
    this.pair = [VERSION, us.session, ...out];
    this.back = [VERSION, us.session, ...back];
    const [low, high] = us.party < member.party ? [this.pair, this.back] : [this.back, this.pair];
    const context = transcript("mpclab relay", ...low, ...high);
    this.incarnations = digest("mpclab incarnations", context).slice(0, 8);
    this.seal = new Seal(us.identity, member.key, context);
    this.attempt = 0; // the highest that the peer offered
    this.lines = 0; // the number of the last line of text
    this.nonce = null; // our open challenge
    this.waiting = []; // pieces
    this.onTheirWay = []; // [number, bytes]
    this.partial = [];
    this.size = 0; // of the partial frame
    this.untold = 0;
  }
}

export class Peer {
  constructor(us, party) {
    this.us = us;
    this.party = party;
    this.met = new Map(); // its incarnations, by name
    this.known = null; // the incarnation that we deal with
    this.newer = null; // one that is to prove itself, while the link is up
    this.online = false;
    this.via = "none";
    this.dial = null; // the present attempt, or link
    this.attempts = 0;
    this.failures = 0;
    this.relayed = false; // whether the peer answered by the server
  }

  // --- who it is ------------------------------------------------------------------------------

  present(member) {
    this.online = true;
    if (this.known?.name === hex(member.incarnation)) { this.pursue(); return; }
    // One that was here before goes on counting its boxes: none is opened twice.
    const fresh = this.met.get(hex(member.incarnation)) ?? new Incarnation(this.us, member);
    if (this.met.size >= MET && !this.met.has(fresh.name)) this.met.delete(this.met.keys().next().value);
    this.met.set(fresh.name, fresh);
    if (this.dial?.isUp) { // perhaps it started anew, perhaps the server shows an old presence
      this.newer = fresh;
      this.challenge(fresh, false);
    } else this.turnTo(fresh);
  }

  absent() {
    this.online = false;
    this.relayed = false;
    if (this.dial !== null && !this.dial.isUp) this.hangUp("it left");
    if (this.via === "relay") this.route("none");
  }

  turnTo(incarnation) {
    this.hangUp("it has another incarnation");
    this.known = incarnation;
    [incarnation.waiting, incarnation.onTheirWay] = [[], []];
    this.newer = null;
    this.relayed = false;
    this.failures = 0;
    this.pursue();
  }

  challenge(incarnation, relay) {
    incarnation.nonce ??= random(16);
    this.box(incarnation, { type: "Hello", reply: false, relay, nonce: incarnation.nonce });
  }

  route(via) {
    if (via === this.via) return;
    this.via = via;
    this.us.reached(this.party, via);
  }

  // --- boxes by the server --------------------------------------------------------------------

  box(incarnation, content) {
    const box = incarnation.seal.seal(packed(content));
    this.us.relay(this.party, { type: "Sealed", incarnations: toBase64(incarnation.incarnations), box: toBase64(box) });
  }

  unseal({ incarnations, box }) {
    const from = [this.known, this.newer].find((one) => one && same(one.incarnations, incarnations));
    if (!from) return; // of an incarnation that is over
    const content = boxed(unpacked(from.seal.open(box)));
    if (content.type === "Hello" && content.reply && from.nonce && same(content.nonce, from.nonce)) {
      from.nonce = null;
      if (from === this.newer) this.turnTo(from);
    }
    if (from !== this.known) {
      if (content.type === "Hello" && !content.reply) this.box(from, { ...content, reply: true });
      return;
    }
    switch (content.type) {
      case "Hello":
        this.relayed = true;
        if (!content.reply) this.box(from, { type: "Hello", reply: true, relay: this.failures > 0, nonce: content.nonce });
        if ((content.relay || this.failures) && this.via === "none") this.route("relay");
        break;
      case "Candidates": this.dial?.learn(content); break;
      case "OfferRequest":
        if (this.us.party < this.party && (this.dial === null || this.dial.isUp)) this.fail("the peer lost the link");
        break;
      case "Taken":
        while (from.onTheirWay.length && from.onTheirWay[0][0] <= content.number) from.onTheirWay.shift();
        this.release();
        break;
      case "Piece": this.piece(from, content); break;
    }
  }

  piece(from, { offset, data, last }) {
    from.untold += data.length;
    if (from.untold >= WINDOW / 4) {
      from.untold = 0;
      this.box(from, { type: "Taken", number: Number(from.seal.opened) });
    }
    if (offset === 0) [from.partial, from.size] = [[], 0];
    if (offset !== from.size || from.size + data.length > LARGEST) { [from.partial, from.size] = [[], 0]; return; }
    from.partial.push(data);
    from.size += data.length;
    if (!last) return;
    const whole = new Uint8Array(from.size);
    from.partial.reduce((at, one) => { whole.set(one, at); return at + one.length; }, 0);
    [from.partial, from.size] = [[], 0];
    this.us.frame(this, whole, false);
  }

  release() {
    const { known } = this;
    const onTheirWay = () => known.onTheirWay.reduce((sum, [, size]) => sum + size, 0);
    while (known.waiting.length && onTheirWay() < WINDOW) {
      const piece = known.waiting.shift();
      this.box(known, piece);
      known.onTheirWay.push([Number(known.seal.sent), piece.data.length]);
    }
  }

  // Send a frame, whichever way there is.
  send(frame) {
    if (this.via === "link") this.dial.channel.send(frame);
    else if (this.via === "relay") {
      for (let offset = 0; offset < frame.length; offset += PIECE) {
        const data = frame.subarray(offset, offset + PIECE);
        this.known.waiting.push({ type: "Piece", offset, data, last: offset + PIECE >= frame.length });
      }
      this.release();
    }
  }

  // --- the direct link ------------------------------------------------------------------------

  pursue() {
    if (this.online && this.dial === null && this.us.party < this.party) {
      this.dial = new Dial(this, ++this.attempts);
      this.dial.offer().catch((error) => this.fail(error.message));
    }
  }

  fail(reason) {
    this.us.told("link failed", { party: this.party, reason });
    this.hangUp(reason);
    this.failures += 1;
    if (!this.online || this.known === null) return;
    this.challenge(this.known, true);
    setTimeout(() => this.pursue(), Math.min(500 * 2 ** this.failures, 30_000));
  }

  hangUp(reason) {
    this.dial?.close(reason);
    this.dial = null;
    this.route(this.relayed && this.online ? "relay" : "none");
    if (this.newer !== null) this.turnTo(this.newer);
  }

  async take(payload) {
    const { us, known } = this;
    if (known === null || !same(payload.to_incarnation, us.incarnation)) return;
    const prints = fingerprints(payload.sdp);
    const isOffer = payload.type === "Offer";
    const parts = isOffer ? offerParts(us, known.back, payload) : answerParts(us, known.back, payload);
    if (!verify(known.member.key, "mpclab description", parts, payload.signature)) {
      if (this.newer !== null) return; // perhaps of the incarnation that has not proved itself yet
      throw new Error(`an ${payload.type} that party ${this.party} did not sign`);
    }
    if (isOffer) {
      if (us.party < this.party) throw new Error("an offer from the side that answers");
      if (payload.expires < us.serverNow()) return;
      if (payload.attempt <= known.attempt) throw new Error("an offer that came before");
      known.attempt = payload.attempt;
      this.hangUp("the peer connects anew");
      this.dial = new Dial(this, payload.attempt);
      await this.dial.answer(digest("mpclab offer", ...parts), payload.sdp, prints);
    } else if (this.dial !== null && this.dial.hash !== null && same(payload.offer, this.dial.hash) && !this.dial.prints) {
      await this.dial.finish(payload.sdp, prints);
    }
  }

  // Messages of the mesh's own, on the link.
  onLink(message) {
    const { dial } = this;
    if (dial === null) return;
    if (message.type === "Confirm" && same(message.offer, dial.hash)) dial.check(message);
  }
}

const offerParts = (us, pair, o) => [...pair, "offer", o.epoch, o.nonce, o.attempt, o.expires, digest("mpclab sdp", o.sdp), fingerprints(o.sdp)];
const answerParts = (us, pair, a) => [...pair, "answer", a.epoch, a.nonce, a.offer, digest("mpclab sdp", a.sdp), fingerprints(a.sdp)];

// One attempt to make a link, and the link.
class Dial {
  constructor(peer, attempt) {
    this.peer = peer;
    this.us = peer.us;
    this.attempt = attempt;
    this.hash = null; // of the offer: the name of this attempt at both ends
    this.prints = null; // the fingerprints that the peer signed
    this.early = null; // its confirmation, if it comes before our channel is open
    this.candidates = null;
    this.described = false; // whether the peer's description is set
    this.isUp = false;
    this.heard = performance.now();
    this.pc = new this.us.RTCPeerConnection({ iceServers: this.us.ice });
    this.channel = this.pc.createDataChannel(`mpc-${this.us.session}`, { ordered: true, negotiated: true, id: 0 });
    this.channel.binaryType = "arraybuffer";
    this.channel.onopen = () => this.opened();
    this.channel.onmessage = ({ data }) => {
      this.heard = performance.now();
      if (typeof data !== "string" && data.byteLength <= 64 * 1024) this.us.frame(this.peer, new Uint8Array(data), true);
    };
    this.channel.onclose = () => this.end("the link closed");
    this.timers = [setTimeout(() => { if (!this.isUp) this.end("the link was not confirmed in time"); }, ATTEMPT)];
  }

  end(reason) { if (this.peer.dial === this) this.peer.fail(reason); }

  close() {
    for (const timer of this.timers) clearInterval(timer);
    this.channel.onclose = null;
    this.pc.close();
  }

  async describe() {
    await this.pc.setLocalDescription(await (this.hash === null ? this.pc.createOffer() : this.pc.createAnswer()));
    if (this.pc.iceGatheringState !== "complete") {
      await new Promise((resolve) => {
        setTimeout(resolve, GATHERING);
        this.pc.onicegatheringstatechange = () => { if (this.pc.iceGatheringState === "complete") resolve(); };
      });
    }
    const { sdp } = this.pc.localDescription;
    this.own = fingerprints(sdp);
    return { sdp: bare(sdp), candidates: candidatesOf(sdp) };
  }

  say(payload, candidates) {
    const { us, peer } = this;
    const encoded = Object.fromEntries(Object.entries(payload).map(([k, v]) => [k, v instanceof Uint8Array ? toBase64(v) : v]));
    us.relay(peer.party, encoded);
    peer.box(peer.known, { type: "Candidates", offer: this.hash, candidates });
  }

  async offer() {
    const { us, peer } = this;
    const { known } = peer;
    const { sdp, candidates } = await this.describe();
    if (peer.dial !== this) return;
    const offer = {
      type: "Offer", epoch: us.epoch, to_incarnation: known.member.incarnation, nonce: random(16),
      attempt: this.attempt, expires: us.serverNow() + 30_000_000, sdp,
    };
    const parts = offerParts(us, known.pair, offer);
    this.hash = digest("mpclab offer", ...parts);
    this.say({ ...offer, signature: us.identity.sign("mpclab description", ...parts) }, candidates);
  }

  async answer(hash, sdp, prints) {
    const { us, peer } = this;
    [this.hash, this.prints] = [hash, prints];
    await this.pc.setRemoteDescription({ type: "offer", sdp });
    const own = await this.describe();
    if (peer.dial !== this) return;
    const answer = { type: "Answer", epoch: us.epoch, to_incarnation: peer.known.member.incarnation, nonce: random(16), offer: hash, sdp: own.sdp };
    this.say({ ...answer, signature: us.identity.sign("mpclab description", ...answerParts(us, peer.known.pair, answer)) }, own.candidates);
    this.described = true;
    this.connect();
  }

  async finish(sdp, prints) {
    this.prints = prints;
    await this.pc.setRemoteDescription({ type: "answer", sdp });
    this.described = true;
    this.connect();
  }

  learn({ offer, candidates }) {
    if (this.hash === null || !same(offer, this.hash)) return;
    this.candidates = candidates;
    this.connect();
  }

  connect() {
    if (!this.described || this.candidates === null) return;
    for (const candidate of this.candidates) {
      this.pc.addIceCandidate({ candidate, sdpMid: "0", sdpMLineIndex: 0 }).catch(() => {});
    }
    this.candidates = [];
  }

  // Sign whom we see: our certificate's fingerprint and theirs, as the transport has them.
  async opened() {
    const { us, peer } = this;
    const certificate = this.pc.sctp?.transport?.getRemoteCertificates?.()[0];
    const shown = certificate ? Array.from(sha256(new Uint8Array(certificate)), (b) => b.toString(16).padStart(2, "0")).join(":").toUpperCase()
      : fingerprints(this.pc.remoteDescription.sdp).find(([name]) => name === "sha-256")?.[1]; // the browser holds DTLS to it
    const mine = this.own.find(([name]) => name === "sha-256")[1];
    if (!this.prints.some(([name, value]) => name === "sha-256" && value === shown)) {
      this.end("the other end has another certificate than was signed for it");
      return;
    }
    const signature = us.identity.sign("mpclab confirm", ...peer.known.pair, this.hash, mine, shown);
    this.confirm = { type: "Confirm", offer: this.hash, mine, yours: shown, signature, seen: false };
    const send = (what) => this.channel.readyState === "open" && this.channel.send(us.framed(["mesh"], what));
    this.send = send;
    send(this.confirm);
    this.timers.push(setInterval(() => { if (!this.isUp) send(this.confirm); }, 1000));
    this.timers.push(setInterval(() => {
      if (this.isUp && performance.now() - this.heard > DEAD) this.end("it went silent");
      else if (this.isUp) send({ type: "Beat" });
    }, BEAT));
    if (this.early !== null) this.check(this.early);
  }

  check(confirm) {
    const { us, peer } = this;
    if (this.confirm === undefined) { this.early = confirm; return; }
    if (this.isUp) {
      if (!confirm.seen) this.send({ ...this.confirm, seen: true });
      return;
    }
    const { mine, yours, signature } = confirm;
    const parts = [...peer.known.back, confirm.offer, mine, yours];
    if (!verify(peer.known.member.key, "mpclab confirm", parts, signature) || mine !== this.confirm.yours || yours !== this.confirm.mine) {
      us.blame(peer.party, "the link is not confirmed by its party's key");
      this.end("not confirmed");
      return;
    }
    this.isUp = true;
    peer.failures = 0;
    if (!confirm.seen) this.send({ ...this.confirm, seen: true });
    peer.route("link");
  }
}

export { onLink };
