// How the clients of a server in a tab reach it: by air that all tabs of a browser breathe
// (BroadcastChannel), or by a wire between two browsers whose two ends were introduced by hand, with
// codes. Both carry the same few words: {to, from, what, text}.

import { packed, unpacked } from "./code.js";

const GATHERING = 1500; // ms that our own addresses may take
const LONGEST = 1 << 20; // characters of one message
const MOST = 16 << 20; // bytes that may wait for the other end
const CLIENTS = 8; // of one wire

// One message as it should be, or nothing.
function words(data) {
  if (typeof data !== "object" || data === null) return undefined;
  const { to, from = "", what, text = "" } = data;
  const fits = [to, from, what, text].every((one) => typeof one === "string" && one.length <= LONGEST);
  return fits ? { to, from, what, text } : undefined;
}

export class Air {
  constructor(name) {
    this.hears = () => {};
    this.channel = new BroadcastChannel(`mpclab server ${name}`);
    this.channel.onmessage = ({ data }) => { const heard = words(data); if (heard) this.hears(heard); };
  }

  post(message) { this.channel.postMessage(message); }

  close() { this.channel.close(); }
}

// A wire to another browser. `offered` or `answered` makes our code; `changed` hears of its life.
export class Wire {
  constructor(ice, changed) {
    this.changed = changed;
    this.isOpen = false;
    this.over = false;
    this.listeners = new Set();
    this.pc = new RTCPeerConnection({ iceServers: ice });
    this.channel = this.pc.createDataChannel("mpclab server", { ordered: true, negotiated: true, id: 0 });
    this.channel.onopen = () => { this.isOpen = true; this.changed(); };
    this.channel.onclose = () => this.close();
    this.channel.onmessage = ({ data }) => this.hear(data);
  }

  hear(data) {
    if (typeof data !== "string" || data.length > 2 * LONGEST) return;
    let heard;
    try { heard = words(JSON.parse(data)); } catch { return; }
    if (heard) for (const listener of this.listeners) listener(heard);
  }

  // The end of one who speaks over this wire.
  end() {
    const end = { hears: () => {}, post: (message) => this.post(message), close: () => this.listeners.delete(listener) };
    const listener = (heard) => end.hears(heard);
    this.listeners.add(listener);
    return end;
  }

  post(message) {
    if (this.channel.readyState !== "open") return;
    if (this.channel.bufferedAmount > MOST) this.close();
    else this.channel.send(JSON.stringify(message));
  }

  async offered() {
    await this.pc.setLocalDescription();
    return this.code();
  }

  async answered(offer) {
    await this.pc.setRemoteDescription({ type: "offer", sdp: unpacked(offer, "offer") });
    await this.pc.setLocalDescription();
    return this.code();
  }

  async take(answer) {
    await this.pc.setRemoteDescription({ type: "answer", sdp: unpacked(answer, "answer") });
  }

  async code() {
    if (this.pc.iceGatheringState !== "complete") {
      await new Promise((resolve) => {
        setTimeout(resolve, GATHERING);
        this.pc.addEventListener("icegatheringstatechange", () => {
          if (this.pc.iceGatheringState === "complete") resolve();
        });
      });
    }
    return packed(this.pc.localDescription.type, this.pc.localDescription.sdp);
  }

  close() {
    if (this.over) return;
    this.over = true;
    this.isOpen = false;
    this.pc.close();
    for (const listener of this.listeners) listener({ to: "", from: "", what: "gone", text: "" });
    this.changed();
  }
}

const silence = { post() {}, close() {}, hears: null };

// The way to a server in a tab.
export class Neighbour {
  constructor(tell, number, air, patience) {
    this.over = false;
    this.id = crypto.getRandomValues(new Uint32Array(4)).join("-");
    this.air = air ?? silence;
    this.end = (reason) => {
      if (!this.over) { this.close(); tell("closed", number, reason); }
    };
    if (air === null) { queueMicrotask(() => this.end("no code connects us to that server any more")); return; }
    const waiting = setTimeout(() => this.end("no tab of this browser is that server"), patience);
    air.hears = ({ to, what, text }) => {
      if (this.over) return;
      if (what === "gone") this.end("the connection to the server's tab is lost");
      else if (to !== this.id) return;
      else if (what === "accept") { clearTimeout(waiting); tell("opened", number, ""); }
      else if (what === "text") tell("received", number, text);
      else if (what === "close") this.end(text || "the server closed the connection");
    };
    this.post("open");
  }

  post(what, text = "") { this.air.post({ to: "server", from: this.id, what, text }); }

  say(text) { if (!this.over) this.post("text", text); }

  close() {
    if (this.over) return;
    this.over = true;
    this.post("close");
    this.air.close();
  }
}

// Be a server for the tabs of this browser, and for those at the other ends of wires.
export class Listener {
  constructor(page, name) {
    this.page = page;
    this.clients = new Map(); // a client's id → { number, air }
    this.over = false;
    this.air = new Air(name);
    this.wires = new Set();
    this.listen(this.air);
  }

  listen(air, most = Infinity, origin = (from) => `tab ${from}`) {
    air.hears = (heard) => {
      if (heard.what === "gone") this.lost(air);
      else if (heard.to === "server") this.hear(air, heard, most, origin);
    };
  }

  // A wire for one more browser; its code is the invitation.
  invite(ice, changed) {
    const wire = new Wire(ice, () => {
      if (wire.over) this.wires.delete(wire);
      changed(wire);
    });
    this.wires.add(wire);
    this.listen(wire.end(), CLIENTS, () => `wire ${[...this.wires].indexOf(wire)}`);
    return wire;
  }

  lost(air) {
    for (const [id, client] of this.clients) {
      if (client.air !== air) continue;
      this.clients.delete(id);
      if (!client.number) continue;
      this.page.links.delete(client.number);
      this.page.tell("closed", client.number, "the connection to the other browser is lost");
    }
  }

  async hear(air, { from, what, text }, most, origin) {
    if (what === "anybody") { air.post({ to: "", what: "here" }); return; }
    const known = this.clients.get(from);
    if (what === "open" && known === undefined) {
      if ([...this.clients.values()].filter((client) => client.air === air).length >= most) return;
      const client = { number: 0, air };
      this.clients.set(from, client);
      const number = client.number = await this.page.ask("accept");
      if (!number) {
        this.clients.delete(from);
        air.post({ to: from, what: "close", text: "the server has stopped" });
        return;
      }
      const post = (word, said) => { if (!this.over) air.post({ to: from, what: word, text: said }); };
      this.page.links.set(number, {
        say: (said) => post("text", said),
        close: (reason) => { this.clients.delete(from); post("close", reason); },
      });
      post("accept", "");
      this.page.tell("greeted", number, origin(from));
      return;
    }
    if (!known?.number || known.air !== air) return;
    if (what === "text") this.page.tell("received", known.number, text);
    else if (what === "close") {
      this.clients.delete(from);
      this.page.links.delete(known.number);
      this.page.tell("closed", known.number, "the tab closed the connection");
    }
  }

  close() {
    for (const [to, { air }] of this.clients) air.post({ to, what: "close", text: "the server stopped" });
    this.over = true;
    this.air.close();
    // What was said goes out first.
    for (const wire of this.wires) setTimeout(() => wire.close(), 200);
  }
}

// Whether some tab of this browser serves under that name already.
export function isServed(name) {
  const air = new Air(name);
  return new Promise((resolve) => {
    const answer = (yes) => { air.close(); resolve(yes); };
    const patience = setTimeout(() => answer(false), 300);
    air.hears = ({ what }) => { if (what === "here") { clearTimeout(patience); answer(true); } };
    air.post({ to: "server", what: "anybody" });
  });
}
