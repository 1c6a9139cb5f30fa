// The page's side of a party: its worker, and the links that a worker cannot have. The verbs are
// listed in `mpclab/worlds/browser/page.py`.

import { Air, Listener, Neighbour, Wire } from "./air.js";

const GATHERING = 1500; // ms that our own addresses may take
const ROOM = 1 << 20; // bytes given to a data channel at once
const MOST = 64 << 20; // bytes that may wait for a peer
const TAB_ANSWERS = 2000; // ms that a server in another tab may take
const LOOK = 3000; // ms between two looks whether Python still answers
const HUNG = 45000; // ms without an answer after which it is ended

// A data channel of our party to another one.
class Channel {
  constructor(tell, number) {
    this.tell = tell;
    this.number = number;
    this.waiting = [];
    this.bytes = 0;
    this.over = false;
    this.work = Promise.resolve();
  }

  // Verbs are done one after another; one that fails ends the link.
  then(act) {
    this.work = this.work.then(act).catch((error) => this.end(`cannot be set up: ${error.message}`));
  }

  begin({ label, ice, relay_only: only, sdp }) {
    this.then(async () => {
      const pc = this.pc = new RTCPeerConnection({ iceServers: ice, iceTransportPolicy: only ? "relay" : "all" });
      const channel = this.channel = pc.createDataChannel(label, { ordered: true, negotiated: true, id: 0 });
      channel.binaryType = "arraybuffer";
      channel.bufferedAmountLowThreshold = ROOM / 2;
      channel.onopen = () => this.opened();
      channel.onmessage = ({ data }) => {
        const bytes = typeof data === "string" ? new TextEncoder().encode(data) : new Uint8Array(data);
        if (!this.over) this.tell("carried", this.number, bytes);
      };
      channel.onbufferedamountlow = () => this.drain();
      channel.onclose = () => this.end("the peer closed the link");
      pc.onconnectionstatechange = () => {
        if (pc.connectionState === "failed") this.end("the connection failed");
      };
      if (sdp !== undefined) await pc.setRemoteDescription({ type: "offer", sdp });
      await pc.setLocalDescription();
      await this.gathered();
      const kind = pc.localDescription.type;
      if (!this.over) this.tell("described", this.number, kind, pc.localDescription.sdp);
    });
  }

  gathered() {
    const { pc } = this;
    if (pc.iceGatheringState === "complete") return undefined;
    return new Promise((resolve) => {
      setTimeout(resolve, GATHERING);
      pc.addEventListener("icegatheringstatechange", () => {
        if (pc.iceGatheringState === "complete") resolve();
      });
    });
  }

  take(sdp) { this.then(() => this.pc.setRemoteDescription({ type: "answer", sdp })); }

  candidates(lines) {
    this.then(async () => {
      for (const candidate of lines) {
        // One that this browser does not understand is no reason to give up the others.
        await this.pc.addIceCandidate({ candidate, sdpMid: "0", sdpMLineIndex: 0 }).catch(() => {});
      }
    });
  }

  async opened() {
    const certificate = this.pc.sctp?.transport?.getRemoteCertificates?.()[0];
    const local = /^a=fingerprint:sha-256 (.*)$/mi.exec(this.pc.localDescription.sdp)?.[1].trim() ?? "";
    let remote = "";
    if (certificate && crypto.subtle) {
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", certificate));
      remote = [...digest].map((b) => b.toString(16).padStart(2, "0")).join(":");
    }
    if (!this.over) this.tell("opened", this.number, `${local} ${remote}`.toUpperCase());
  }

  put(data) {
    if (this.channel?.readyState !== "open") return;
    this.bytes += data.byteLength;
    this.waiting.push(data);
    if (this.bytes > MOST) this.end("too much waits for the peer");
    else this.drain();
  }

  drain() {
    while (this.waiting.length && this.channel.readyState === "open" && this.channel.bufferedAmount < ROOM) {
      const data = this.waiting.shift();
      this.bytes -= data.byteLength;
      this.channel.send(data);
    }
  }

  end(reason) {
    if (this.over) return;
    this.close();
    this.tell("closed", this.number, reason);
  }

  close() {
    this.over = true;
    this.waiting = [];
    this.pc?.close();
  }
}

// The way to a server on the network.
class Socket {
  constructor(tell, number, url) {
    this.over = false;
    this.end = (reason) => {
      if (!this.over) { this.close(); tell("closed", number, reason); }
    };
    try {
      this.socket = new WebSocket(url);
    } catch (error) {
      queueMicrotask(() => this.end(`cannot connect: ${error.message}`));
      return;
    }
    this.socket.onopen = () => { if (!this.over) tell("opened", number, ""); };
    this.socket.onmessage = ({ data }) => {
      if (typeof data !== "string") this.end("the server sent bytes");
      else if (!this.over) tell("received", number, data);
    };
    this.socket.onclose = ({ reason }) => this.end(reason || "connection lost");
  }

  say(text) { if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(text); }

  close() {
    this.over = true;
    this.socket?.close();
  }
}

// The way to a server through the page that holds ours in a frame, a notebook: its messages go
// wherever that page can reach, such as the notebook's kernel.
class Framed {
  constructor(tell, number, port) {
    this.over = false;
    this.number = number;
    this.port = port;
    this.end = (reason) => {
      if (!this.over) { this.close(); tell("closed", number, reason); }
    };
    if (port === null) { queueMicrotask(() => this.end("no notebook holds this page")); return; }
    this.hear = ({ data }) => {
      if (this.over || data?.link !== number) return;
      if (data.what === "opened") tell("opened", number, "");
      else if (data.what === "received") tell("received", number, String(data.text));
      else if (data.what === "closed") this.end(String(data.text || "connection lost"));
    };
    port.addEventListener("message", this.hear);
    port.postMessage({ link: number, what: "open" });
  }

  say(text) { if (!this.over) this.port.postMessage({ link: this.number, what: "say", text }); }

  close() {
    if (this.over) return;
    this.over = true;
    this.port?.removeEventListener("message", this.hear ?? null);
    this.port?.postMessage({ link: this.number, what: "close" });
  }
}

export class Page {
  // show(state), flow(chunk) and died(reason) are called as they come.
  constructor({ show, flow, died }) {
    this.links = new Map();
    this.listener = null;
    this.wire = null; // to a server that another browser's tab is, by a code
    this.port = null; // to the notebook that holds this page
    this.served = ""; // the name that we serve under, or are about to
    this.letGo = () => {}; // of the lock on it
    this.shown = { state: (text) => show(JSON.parse(text)), flow: (text, data) => flow(data, text === "begin"), died };
    addEventListener("pagehide", () => this.vanish());
    addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); });
    this.begin();
    setInterval(() => this.look(), LOOK);
  }

  // A worker, which has nothing of an earlier one.
  begin() {
    this.asked = new Map();
    this.next = 1;
    this.events = [];
    this.heard = this.looked = performance.now();
    this.begun = false; // Python is there: until then it answers nothing, on a busy machine for a minute
    const worker = this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "mpclab" });
    worker.onmessage = ({ data }) => { if (worker === this.worker) this.hear(data); };
    worker.onerror = (event) => { if (worker === this.worker) this.shown.died(event.message || "the worker could not be loaded"); };
  }

  // End it at once, as a machine that loses its power; its links go too.
  crash() {
    this.worker.terminate();
    this.worker = null;
    for (const { reject } of this.asked.values()) reject(new Error("this party has ended"));
    this.vanish();
    this.links.clear();
    this.listener = null;
    this.release();
  }

  // The watchdog: Python that does not answer for so long never will. A page that was asleep itself,
  // or stopped, knows nothing of that time.
  look() {
    const now = performance.now();
    const slept = now - this.looked - LOOK;
    this.looked = now;
    if (this.worker === null) return;
    if (!this.begun) this.heard = now;
    if (slept > LOOK) this.heard += slept;
    if (now - this.heard > HUNG) {
      this.crash();
      this.shown.died("it did not answer any more");
    } else this.worker.postMessage({ id: 0, ask: "alive" });
  }

  // Ask the worker; its answer.
  ask(what, more = {}) {
    if (this.worker === null) return Promise.reject(new Error("this party has ended"));
    const id = this.next++;
    this.worker.postMessage({ id, ask: what, ...more });
    return new Promise((resolve, reject) => this.asked.set(id, { resolve, reject }));
  }

  // Be the server of this name, unless another tab of this browser is.
  async serve(name) {
    if (this.served) throw new Error("this tab is a server already; stop it first");
    this.served = name;
    try {
      const free = !navigator.locks || await new Promise((resolve) => {
        navigator.locks.request(`mpclab server ${name}`, { ifAvailable: true }, (lock) => {
          resolve(lock !== null);
          return lock === null ? undefined : new Promise((done) => { this.letGo = done; });
        }).catch(() => resolve(true));
      });
      if (!free) throw new Error("another tab of this browser is that server");
      return await this.command({ do: "serve", name });
    } catch (error) {
      this.release();
      throw error;
    }
  }

  release() {
    this.served = "";
    this.letGo();
  }

  command(command) { return this.ask("command", { command }); }

  // Tell Python what happened to a link.
  tell(...event) {
    this.events.push(event);
    if (this.events.length === 1) queueMicrotask(() => {
      this.worker?.postMessage({ events: this.events });
      this.events = [];
    });
  }

  hear(data) {
    this.heard = performance.now();
    if (data.verbs) for (const verb of data.verbs) this.perform(...verb);
    else if (data.died) this.shown.died(data.died);
    else if (data.answer) {
      this.begun = true;
      const asked = this.asked.get(data.answer);
      this.asked.delete(data.answer);
      if (data.error === undefined) asked.resolve(data.ok);
      else asked.reject(new Error(data.error));
    }
  }

  perform(verb, number, text, data) {
    const link = this.links.get(number);
    const tell = (what, of, ...rest) => {
      if (what === "closed") this.links.delete(of);
      this.tell(what, of, ...rest);
    };
    switch (verb) {
      case "state": this.shown.state(text); break;
      case "flow": this.shown.flow(text, data); break;
      case "connect": {
        this.links.set(number, this.way(tell, number, text));
        break;
      }
      case "offer":
      case "answer": {
        const channel = new Channel(tell, number);
        this.links.set(number, channel);
        channel.begin(JSON.parse(text));
        break;
      }
      case "listen": this.listener = new Listener(this, text); break;
      case "hush": this.listener?.close(); this.listener = null; this.release(); break;
      case "say": link?.say(text); break;
      case "send": link?.put(data); break;
      case "take": link?.take(text); break;
      case "candidates": link?.candidates(JSON.parse(text)); break;
      case "close": this.links.delete(number); link?.close(text); break;
      default: throw new Error(`no such verb: ${verb}`);
    }
  }

  // The way to a server: in a tab of this browser, at the other end of a code, behind the notebook
  // that holds this page, or on the network.
  way(tell, number, url) {
    if (url.startsWith("tab:")) return new Neighbour(tell, number, new Air(url.slice(4)), TAB_ANSWERS);
    if (url === "code:") return new Neighbour(tell, number, this.wire?.isOpen ? this.wire.end() : null, TAB_ANSWERS);
    if (url === "frame:") return new Framed(tell, number, this.port);
    return new Socket(tell, number, url);
  }

  // A wire to whoever invited us with a code.
  dial(ice, changed) { return (this.wire = new Wire(ice, changed)); }

  // The page goes: whoever we serve, and whoever serves us, is told.
  vanish() {
    this.listener?.close();
    for (const link of this.links.values()) link.close();
  }
}
