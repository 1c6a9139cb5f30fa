// The page's side of a party: its worker, and the links that a worker cannot have. The verbs are
// listed in `mpclab/worlds/browser/page.py`.

const GATHERING = 1500; // ms that our own addresses may take
const ROOM = 1 << 20; // bytes given to a data channel at once
const MOST = 64 << 20; // bytes that may wait for a peer
const TAB_ANSWERS = 2000; // ms that a server in another tab may take

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

  begin({ label, ice, sdp }) {
    this.then(async () => {
      const pc = this.pc = new RTCPeerConnection({ iceServers: ice });
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

// The way to a server in another tab of this browser, or in this one.
class Neighbour {
  constructor(tell, number, name) {
    this.over = false;
    this.id = crypto.getRandomValues(new Uint32Array(4)).join("-");
    this.air = new BroadcastChannel(`mpclab server ${name}`);
    this.end = (reason) => {
      if (!this.over) { this.close(); tell("closed", number, reason); }
    };
    const patience = setTimeout(() => this.end("no tab of this browser is that server"), TAB_ANSWERS);
    this.air.onmessage = ({ data }) => {
      if (data.to !== this.id || this.over) return;
      if (data.what === "accept") { clearTimeout(patience); tell("opened", number, ""); }
      else if (data.what === "text") tell("received", number, data.text);
      else if (data.what === "close") this.end(data.text || "the server closed the connection");
    };
    this.post("open");
  }

  post(what, text = "") { this.air.postMessage({ to: "server", from: this.id, what, text }); }

  say(text) { if (!this.over) this.post("text", text); }

  close() {
    if (this.over) return;
    this.over = true;
    this.post("close");
    this.air.close();
  }
}

// Be a server for the tabs of this browser.
class Listener {
  constructor(page, name) {
    this.page = page;
    this.numbers = new Map(); // a client's id → its number
    this.ids = new Map();
    this.over = false;
    this.air = new BroadcastChannel(`mpclab server ${name}`);
    this.air.onmessage = ({ data }) => { if (data.to === "server") this.hear(data); };
  }

  async hear({ from, what, text }) {
    if (what === "anybody") { this.air.postMessage({ to: "", what: "here" }); return; }
    if (what === "open" && !this.numbers.has(from)) {
      this.numbers.set(from, 0);
      const number = await this.page.ask("accept");
      if (!number) { this.post(from, "close", "the server has stopped"); return; }
      this.numbers.set(from, number);
      this.ids.set(number, from);
      this.page.links.set(number, {
        say: (said) => this.post(from, "text", said),
        close: (reason) => { this.forget(number); this.post(from, "close", reason); },
      });
      this.post(from, "accept");
      this.page.tell("greeted", number, `tab ${from}`);
      return;
    }
    const number = this.numbers.get(from);
    if (!number) return;
    if (what === "text") this.page.tell("received", number, text);
    else if (what === "close") {
      this.forget(number);
      this.page.links.delete(number);
      this.page.tell("closed", number, "the tab closed the connection");
    }
  }

  post(to, what, text = "") { if (!this.over) this.air.postMessage({ to, what, text }); }

  forget(number) {
    this.numbers.delete(this.ids.get(number));
    this.ids.delete(number);
  }

  close() {
    for (const id of this.numbers.keys()) this.post(id, "close", "the server stopped");
    this.over = true;
    this.air.close();
  }
}

export class Page {
  // show(state), flow(chunk) and died(reason) are called as they come.
  constructor({ show, flow, died }) {
    this.links = new Map();
    this.listener = null;
    this.asked = new Map();
    this.next = 1;
    this.events = [];
    this.shown = { state: (text) => show(JSON.parse(text)), flow: (text, data) => flow(data, text === "begin"), died };
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "mpclab" });
    this.worker.onmessage = ({ data }) => this.hear(data);
    this.worker.onerror = (event) => died(event.message || "the worker could not be loaded");
    addEventListener("pagehide", () => this.vanish());
  }

  // Ask the worker; its answer.
  ask(what, more = {}) {
    const id = this.next++;
    this.worker.postMessage({ id, ask: what, ...more });
    return new Promise((resolve, reject) => this.asked.set(id, { resolve, reject }));
  }

  command(command) { return this.ask("command", { command }); }

  // Tell Python what happened to a link.
  tell(...event) {
    this.events.push(event);
    if (this.events.length === 1) queueMicrotask(() => {
      this.worker.postMessage({ events: this.events });
      this.events = [];
    });
  }

  hear(data) {
    if (data.verbs) for (const verb of data.verbs) this.perform(...verb);
    else if (data.died) this.shown.died(data.died);
    else {
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
        const near = text.startsWith("tab:");
        this.links.set(number, near ? new Neighbour(tell, number, text.slice(4)) : new Socket(tell, number, text));
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
      case "hush": this.listener?.close(); this.listener = null; break;
      case "say": link?.say(text); break;
      case "send": link?.put(data); break;
      case "take": link?.take(text); break;
      case "candidates": link?.candidates(JSON.parse(text)); break;
      case "close": this.links.delete(number); link?.close(text); break;
      default: throw new Error(`no such verb: ${verb}`);
    }
  }

  // The page goes: whoever we serve, and whoever serves us, is told.
  vanish() {
    this.listener?.close();
    for (const link of this.links.values()) link.close();
  }
}
