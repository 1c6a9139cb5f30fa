// One party of a session, in plain JavaScript: it joins at a signaling server, makes a confirmed
// link to every other member, and votes. All that it knows of mpclab is docs/wire.md and wire.json.
//
//   new Party({ seed, session, party, n, t, policy, agreement, url, store, told, WebSocket, RTCPeerConnection })
//
// `told(what, detail)` hears what happens; `store` keeps texts by name ({ get(name), set(name, text) }).

import { joined, packed, same, toBase64, unpacked } from "./bytes.mjs";
import { Identity, random, verify } from "./identity.mjs";
import { fromServer, inSession, onLink, payloads, pieces } from "./messages.mjs";
import { Peer } from "./peer.mjs";
import { Session } from "./session.mjs";

const VERSION = 1;
const MOST = 64 * 1024; // characters of a message of the server
const PIECE = 48 * 1024;
const LARGEST = 8 * 1024 * 1024;
const BACKLOG = 4096; // messages for the server

export class Party {
  constructor({ seed, session, party, n, t, policy = "unanimous", agreement = "direct", url, store, told, ice = [], ticket = "", WebSocket, RTCPeerConnection }) {
    if (!/^(unanimous|threshold\(\d+\))$/.test(policy)) throw new Error(`policy ${policy}: unanimous or threshold(k)`);
    Object.assign(this, { session, party, n, t, policy, agreement, url, store, told, ice, ticket, WebSocket, RTCPeerConnection });
    this.identity = new Identity(seed);
    this.epoch = Number(store.get("epoch") ?? 0) + 1;
    store.set("epoch", String(this.epoch));
    this.incarnation = random(16);
    this.state = "off";
    this.offset = 0; // the server's clock − ours, µs
    this.frames = 0;
    this.tries = 0;
    this.keys = new Map([[party, this.identity.public]]); // the first key that a party showed is its key
    this.peers = new Map();
    this.partial = new Map(); // messages in pieces
    this.backlog = []; // for the server, when it lets us
    [this.rate, this.burst, this.credit, this.credited] = [0, 0, 0, 0];
    for (let other = 1; other <= n; other++) if (other !== party) this.peers.set(other, new Peer(this, other));
    this.app = new Session(this);
  }

  serverNow() { return Math.round((performance.timeOrigin + performance.now()) * 1000) + this.offset; }

  blame(party, reason) { this.told("blamed", { party, reason }); }

  // --- the server -----------------------------------------------------------------------------

  connect() {
    this.state = "connecting";
    const socket = this.socket = new this.WebSocket(this.url);
    socket.onmessage = ({ data }) => {
      try {
        if (typeof data !== "string" || data.length > MOST) throw new Error("the server sent bytes, or too much");
        this.hear(fromServer(JSON.parse(data).msg));
      } catch (error) {
        this.blame(0, error.message);
        socket.close();
      }
    };
    socket.onerror = () => {};
    socket.onclose = () => {
      if (socket !== this.socket || this.state === "off" || this.state === "refused") return;
      this.state = "waiting";
      this.backlog = [];
      this.told("server lost", {});
      for (const peer of this.peers.values()) peer.absent();
      this.tries = Math.min(this.tries + 1, 6);
      setTimeout(() => { if (this.state === "waiting") this.connect(); }, 2 ** this.tries * (250 + 250 * Math.random()));
    };
  }

  leave() {
    this.post({ type: "Leave" });
    this.state = "off";
    this.socket.close();
    for (const peer of this.peers.values()) { peer.absent(); peer.hangUp("we left"); }
  }

  post(message) { if (this.socket.readyState === 1) this.socket.send(JSON.stringify({ id: ++this.frames, msg: message })); }

  // Within the server's rate, with room to spare.
  relay(to, payload) {
    if (this.backlog.length < BACKLOG) this.backlog.push({ type: "Relay", envelopes: [{ type: "Envelope", to, payload }] });
    this.drain();
  }

  drain() {
    const { rate, burst } = this;
    const now = performance.now();
    if (rate) this.credit = Math.min(burst, this.credit + ((now - this.credited) * rate) / 1000);
    this.credited = now;
    while (this.backlog.length && (!rate || this.credit >= 1)) {
      this.credit -= 1;
      this.post(this.backlog.shift());
    }
    if (!this.backlog.length) return;
    clearTimeout(this.draining);
    this.draining = setTimeout(() => this.drain(), Math.max(10, ((1 - this.credit) * 1000) / rate));
  }

  hear(message) {
    if (message.type === "Challenge" && this.state === "connecting") this.join(message);
    else if (message.type === "Refused") {
      if (message.final) this.state = "refused";
      this.told("refused", message);
    } else if (message.type === "Welcome" && this.state === "joining") {
      if (message.session !== this.session || message.party !== this.party) throw new Error("welcome to another seat");
      this.state = "joined";
      this.tries = 0;
      this.offset += message.now - this.serverNow();
      this.revision = message.revision;
      this.rate = message.rate * 0.9;
      this.burst = this.credit = Math.max(1, message.burst * 0.75);
      this.credited = performance.now();
      this.told("joined", { session: this.session, party: this.party });
      message.members.forEach((member) => this.meet(member));
    } else if (this.state === "joined") this.news(message);
    else throw new Error(`${message.type} out of order`);
  }

  join({ nonce, version }) {
    if (version !== VERSION || nonce.length !== 16) throw new Error(`a server of version ${version}`);
    const { session, party, n, t, policy, agreement, incarnation, epoch, identity, ticket } = this;
    const mode = "either";
    const presence = identity.sign("mpclab presence", VERSION, session, party, incarnation, epoch);
    const parts = [VERSION, nonce, session, party, n, t, policy, identity.public, incarnation, epoch, presence, mode, agreement];
    if (ticket) parts.push("", new Uint8Array(0), ticket, []);
    const signature = identity.sign("mpclab signaling join", ...parts);
    const [key, own, shown, proof] = [identity.public, incarnation, presence, signature].map(toBase64);
    this.state = "joining";
    this.post({ type: "Join", session, party, n, t, policy, key, incarnation: own, epoch, presence: shown, signature: proof, mode, agreement, ...(ticket ? { ticket } : {}) });
  }

  news(message) {
    switch (message.type) {
      case "Relayed": case "Announced": this.open(message.sender, message.payload); break;
      case "PeerJoined": this.meet(message.member); break;
      case "PeerLeft": this.peers.get(message.party)?.absent(); break;
      case "Roster": {
        const here = new Set(message.members.filter((m) => m.online).map((m) => m.party));
        for (const [party, peer] of this.peers) if (peer.online && !here.has(party)) peer.absent();
        message.members.forEach((member) => this.meet(member));
        break;
      }
      case "Ping":
        this.post({ type: "Pong" });
        if (message.revision !== this.revision) this.post({ type: "Who" });
        break;
      default: break; // LeftOut: what matters is asked for again; Wanted: we tell no rows
    }
    if (message.revision !== undefined) this.revision = message.revision;
  }

  // A member as the server shows it. Its presence is signed, so that nobody else can invent it.
  meet(member) {
    const peer = this.peers.get(member.party);
    if (peer === undefined) {
      if (member.party !== this.party || !same(member.key, this.identity.public)) this.blame(0, `shows an impossible party ${member.party}`);
      return;
    }
    if (!member.online) { peer.absent(); return; }
    // We may have sat there once: the presence would be genuine, and our votes would count twice.
    if (same(member.key, this.identity.public)) { this.blame(member.party, "it has our own key"); return; }
    const parts = [VERSION, this.session, member.party, member.incarnation, member.epoch];
    if (member.incarnation.length !== 16 || !verify(member.key, "mpclab presence", parts, member.presence)) {
      this.blame(member.party, "a presence that it did not sign");
      return;
    }
    const pin = this.store.get(`pin-${member.party}`);
    if (pin === null) this.store.set(`pin-${member.party}`, toBase64(member.key));
    else if (pin !== toBase64(member.key)) { this.blame(member.party, "another key than it had before"); return; }
    this.keys.set(member.party, member.key);
    peer.present(member);
  }

  open(sender, payload) {
    const peer = this.peers.get(sender);
    if (peer === undefined) throw new Error(`a message of party ${sender}`);
    const doubt = (error) => this.blame(sender, error.message);
    try {
      const content = payloads(payload);
      if (content.type === "Sealed") peer.unseal(content);
      else if (content.type === "Text") this.line(peer, content);
      else peer.take(content).catch(doubt);
    } catch (error) { doubt(error); }
  }

  // A line of text for people.
  line(peer, { to, number, text, signature }) {
    if (peer.known === null) return;
    const { key, incarnation } = peer.known.member;
    const parts = [VERSION, this.session, peer.party, incarnation, to, number, text];
    if ((to !== 0 && to !== this.party) || number <= peer.known.lines || !verify(key, "mpclab text", parts, signature)) {
      throw new Error("a line of text that it did not sign, or that came before");
    }
    peer.known.lines = number; // each incarnation counts its own
    this.told("said", { party: peer.party, text });
  }

  // --- frames ---------------------------------------------------------------------------------

  framed(path, message, body = packed(message)) { return packed([++this.frames, path, body]); }

  // To whom it can be sent now: "link" or "relay"; false: not at all.
  send(to, message) {
    const peer = this.peers.get(to);
    if (peer === undefined || peer.via === "none") return false;
    const body = packed(message);
    if (body.length <= PIECE || peer.via === "relay") peer.send(this.framed(["session"], null, body));
    else {
      const of = ++this.frames;
      for (let offset = 0; offset < body.length; offset += PIECE) {
        const data = body.subarray(offset, offset + PIECE);
        peer.send(this.framed(["pieces"], { type: "Piece", of, path: ["session"], offset, data, last: offset + PIECE >= body.length }));
      }
    }
    return true;
  }

  broadcast(message) { for (const to of this.peers.keys()) this.send(to, message); }

  // What a peer sent. One that is no message costs its sender the frame, and a line of blame.
  frame(peer, data, direct) {
    try {
      const found = unpacked(data);
      if (!Array.isArray(found) || found.length !== 3 || !Array.isArray(found[1]) || !(found[2] instanceof Uint8Array)) throw new Error("malformed frame");
      this.deliver(peer, found[1].join("/"), found[2], direct);
    } catch (error) { this.blame(peer.party, error.message); }
  }

  deliver(peer, path, body, direct) {
    if (path === "mesh") {
      if (!direct) throw new Error("relayed a message that belongs on a link");
      peer.onLink(onLink(unpacked(body)));
    } else if (direct && !peer.dial?.isUp) return; // nothing else before it is confirmed
    else if (path === "pieces") this.piece(peer, pieces(unpacked(body)), direct);
    else if (path === "session") this.app.hear(peer.party, inSession(unpacked(body)));
    // Other machines, such as an agreement protocol, have no counterpart here.
  }

  piece(peer, { of, path, offset, data, last }, direct) {
    if (path.join("/") === "pieces" || offset % PIECE || data.length > PIECE || offset + data.length > LARGEST) throw new Error("a piece of no message");
    const name = `${peer.party} ${of} ${path.join("/")}`;
    if (!this.partial.has(name) && this.partial.size >= 4 * this.n) this.partial.delete(this.partial.keys().next().value);
    const partial = this.partial.get(name) ?? { parts: new Map(), size: null };
    this.partial.set(name, partial);
    partial.parts.set(offset, data);
    if (last) partial.size = offset + data.length;
    const held = [...partial.parts.values()].reduce((sum, one) => sum + one.length, 0);
    if (held !== partial.size) return;
    this.partial.delete(name);
    this.deliver(peer, path.join("/"), joined(...[...partial.parts].sort(([a], [b]) => a - b).map(([, one]) => one)), direct);
  }

  reached(party, via) {
    this.told("peer", { party, via });
    if (via !== "none") this.app.greet(party);
  }
}
