// What one can do with the picture: zoom, move, filter, point at, choose; by mouse, touch and keys.

const KEYS = {
  ArrowLeft: (d) => d.pan(-0.15), ArrowRight: (d) => d.pan(0.15),
  "+": (d) => d.zoom(0.7), "=": (d) => d.zoom(0.7), "-": (d) => d.zoom(1 / 0.7),
  Home: (d) => d.act("fit"), End: (d) => d.act("latest"), "/": (d) => d.input.focus(),
  ",": (d) => d.act("back"), ".": (d) => d.act("forth"), s: (d) => d.act("state"),
  n: (d) => d.step(1), p: (d) => d.step(-1), b: (d) => d.act("past"), f: (d) => d.act("future"),
  Escape: (d) => d.act("close"),
};

class Diagram {
  // Shows `store` in `host`. options: rows (of the trace, to stand out), onChoose(row).
  constructor(host, store, options = {}) {
    this.store = store;
    this.options = options;
    this.axis = new Axis(store);
    this.picture = new Picture(store, this.axis);
    this.view = {
      window: null, // [left, right] in units of the axis; null: everything, and follow
      latest: Boolean(options.latest), // then follow from the latest proposal on
      scale: "auto", filter: parseFilter("", store), background: false, server: true,
      open: new Set(), chosen: -1, chosenMark: null, chosenCall: null, party: null, lit: null, ghost: null, witnesses: new Set(options.rows ?? []),
    };
    this.frames = []; // ms that each drawing took
    this.painted = 0; // so many marks were there when it was drawn last
    this._build(host);
    this._listen();
    new ResizeObserver(() => this.redraw()).observe(this.stage);
    this.redraw();
  }

  _build(host) {
    host.classList.add("mpclab-diagram");
    host.innerHTML = `
      <style>${STYLE}</style>
      <div class="bar" role="toolbar" aria-label="Diagram">
        <input class="filter" type="search" spellcheck="false" aria-label="Filter messages"
          placeholder="filter: kind:Vote party:1-3 lost path:session" />
        <datalist></datalist>
        <span class="group">
          <button data-do="out" title="see more (−)" aria-label="Zoom out">−</button>
          <button data-do="in" title="see closer (+)" aria-label="Zoom in">+</button>
          <button data-do="fit" title="the whole run (Home)">All</button>
          <button data-do="latest" title="from the latest proposal on (End)">Latest</button>
        </span>
        <button data-do="scale" title="time to scale, or the same room for every event">to scale</button>
        <button data-do="background" title="also heartbeats and the like">heartbeats</button>
        <button data-do="server" title="also the signaling server">server</button>
        <button data-do="state" title="how every party stood, at any moment (s)">state</button>
        <span class="said" role="status"></span>
      </div>
      <div class="body">
        <div class="stage" tabindex="0" role="application" aria-label="Space-time diagram">
          <canvas class="main"></canvas><div class="tip" hidden></div>
        </div>
        <aside class="details" aria-live="polite" hidden></aside>
      </div>
      <canvas class="map" aria-hidden="true"></canvas>
      <section class="scrub" aria-label="State at a moment" hidden></section>
      <p class="summary"></p>`;
    const parts = { stage: ".stage", canvas: "canvas.main", map: "canvas.map", tip: ".tip",
      details: ".details", said: ".said", summary: ".summary", input: "input.filter", list: "datalist",
      scrub: "section.scrub" };
    for (const [name, selector] of Object.entries(parts)) this[name] = host.querySelector(selector);
    this.host = host;
    this.scrubber = new Scrubber(this, this.scrub);
    this.hands = new Hands(this);
    const id = `mpclab-${Math.random().toString(36).slice(2)}`;
    this.list.id = `${id}-words`;
    this.input.setAttribute("list", this.list.id);
    this.summary.id = `${id}-summary`;
    this.stage.setAttribute("aria-describedby", this.summary.id);
  }

  // --- mouse, touch, keys ---

  _listen() {
    this.host.addEventListener("click", (event) => {
      const what = event.target.closest?.("[data-do]")?.dataset.do;
      if (what) this.act(what);
    });
    this.host.addEventListener("pointerdown", () => { this.tip.hidden = true; });
    this.input.addEventListener("input", () => this.setFilter(this.input.value));
    this.stage.addEventListener("wheel", (event) => this._wheel(event), { passive: false });
    this.stage.addEventListener("pointermove", (event) => this._hover(event));
    this.stage.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this._drag(this.stage, (event, start) => this._dragStage(event, start));
    this._drag(this.map, (event) => this._dragMap(event));
    this.host.addEventListener("keydown", (event) => this._key(event));
  }

  _key(event) {
    event.stopPropagation(); // a notebook has commands of its own on these keys
    if (event.target === this.input) {
      if (event.key === "Escape") { this._fill(""); this.stage.focus(); }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key](this);
  }

  _wheel(event) {
    event.preventDefault();
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      this.pan((event.deltaX || event.deltaY) / this.picture.plot);
    } else this.zoom(Math.exp(event.deltaY * 0.0016), this.picture.unpx(event.offsetX));
  }

  _drag(where, move) {
    const fingers = new Map();
    let start = null, spread = 0;
    where.addEventListener("pointerdown", (event) => {
      where.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, event);
      start = { x: event.offsetX, y: event.offsetY, moved: false, window: this._window() };
      spread = 0;
      if (where === this.map) move(event, start);
      else if (fingers.size === 1) this.hands.take(event);
    });
    where.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId)) return;
      fingers.set(event.pointerId, event);
      if (fingers.size === 2 && where === this.stage) { // two fingers zoom
        const [a, b] = [...fingers.values()];
        const apart = Math.hypot(a.offsetX - b.offsetX, a.offsetY - b.offsetY);
        if (spread) this.zoom(spread / apart, this.picture.unpx((a.offsetX + b.offsetX) / 2));
        spread = apart;
        start.moved = true;
        if (this.hands.grip) this.hands.cancel();
        return;
      }
      if (Math.hypot(event.offsetX - start.x, event.offsetY - start.y) > 3) start.moved = true;
      if (start.moved && where === this.stage && this.hands.grip) this.hands.move(event);
      else if (start.moved) move(event, start);
    });
    where.addEventListener("pointerup", (event) => {
      fingers.delete(event.pointerId);
      if (where === this.stage && this.hands.grip) {
        if (start?.moved) { this.hands.drop(event); return; }
        this.hands.cancel();
      }
      if (start && !start.moved && where === this.stage) this._click(event);
    });
    where.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  }

  _dragStage(event, start) {
    const [left, right] = start.window;
    const by = ((start.x - event.offsetX) / this.picture.plot) * (right - left);
    this.setWindow(left + by, right + by);
    this.tip.hidden = true;
  }

  _dragMap(event) {
    const [low, high] = this.axis.whole();
    const middle = low + ((event.offsetX - LEFT) / this.picture.plot) * (high - low);
    const [left, right] = this._window();
    this.setWindow(middle - (right - left) / 2, middle + (right - left) / 2);
  }

  _hover(event) {
    if (event.buttons) return;
    const found = this.picture.at(event.offsetX, event.offsetY);
    this.tip.hidden = !found;
    this.stage.style.cursor = found ? "pointer" : "grab";
    if (!found) return;
    this.tip.textContent = found.mark ? markWords(found.mark, this.store)
      : found.call ? callWords(found.call) : this.messageWords(found.message);
    const right = event.offsetX > this.stage.clientWidth - 280;
    this.tip.style.left = right ? "" : `${event.offsetX + 14}px`;
    this.tip.style.right = right ? `${this.stage.clientWidth - event.offsetX + 14}px` : "";
    this.tip.style.top = `${event.offsetY + 14}px`;
  }

  _click(event) {
    if (event.offsetX < LEFT - 6) { this._openGroup(event.offsetY); return; }
    const found = this.picture.at(event.offsetX, event.offsetY);
    if (found?.mark) this.chooseMark(found.mark);
    else if (found?.call) this.chooseCall(found.call);
    else if (found) this.choose(found.message);
    else {
      this.choose(-1);
      if (!this.scrub.hidden) this.scrubber.seekTime(this.axis.time(this.picture.unpx(event.offsetX)));
    }
  }

  _openGroup(y) {
    const { lanes, step } = this.picture;
    const lane = lanes.find((one) => Math.abs(one.y - y) < step / 2);
    if (lane?.members.length === 1 && lane.members[0] > 0) this.chooseParty(lane.members[0]);
    const group = lane?.group;
    if (group === undefined || (lane.members.length === 1 && !this.view.open.has(group))) return;
    if (!this.view.open.delete(group)) this.view.open.add(group);
    this.redraw();
  }

  // --- verbs ---

  act(what) {
    const { view, store } = this;
    const [, whose, verb] = /^(message|party):(.*)$/.exec(what) ?? [];
    if (whose === "message") { this.hands.doMessage(verb, view.chosen); return; }
    if (whose === "party") { this.hands.do(verb, { party: view.party }); return; }
    switch (what) {
      case "in": this.zoom(0.6); break;
      case "out": this.zoom(1 / 0.6); break;
      case "fit": case "latest":
        view.window = null;
        view.latest = what === "latest";
        break;
      case "scale": this._turnScale(); break;
      case "background": view.background = !view.background; break;
      case "server": view.server = !view.server; break;
      case "past": case "future":
        if (view.chosen >= 0) view.lit = cone(store, view.chosen, what === "future");
        break;
      case "only": this._fill(`party:${view.party}`); break;
      case "kind": case "path":
        this._fill(`${what}:"${store.words[store[what].data[view.chosen]]}"`);
        break;
      case "close": this.choose(-1); break;
      case "state":
        this.scrub.hidden = !this.scrub.hidden;
        if (this.scrub.hidden) this.scrubber.leave();
        break;
      case "back": case "forth":
        this.scrub.hidden = false;
        this.scrubber.step(what === "back" ? -1 : 1);
        break;
      case "present": this.scrubber.leave(); break;
      case "branch": this.hands.do("branch", { row: this.scrubber.row < 0 ? undefined : this.scrubber.row }); break;
      default: throw new Error(`unknown command ${what}`);
    }
    this.redraw();
  }

  _turnScale() {
    const times = this.view.window?.map((x) => this.axis.time(x));
    this.view.scale = this.axis.kind === "time" ? "order" : "time";
    this.axis.choose(this.view.scale);
    if (times) this.setWindow(...times.map((t) => this.axis.x(t)));
  }

  _fill(text) { this.input.value = text; this.setFilter(text); }

  setFilter(text) {
    const filter = parseFilter(text, this.store);
    this.error = filter.error;
    if (!filter.error) this.view.filter = filter;
    this.redraw();
  }

  _window() {
    return this.view.window ?? (this.view.latest ? this.axis.latest() : this.axis.whole());
  }

  // Show [left, right] of the axis, kept inside the run.
  setWindow(left, right) {
    const [low, high] = this.axis.whole();
    if (right - left >= high - low) {
      this.view.window = null;
      this.view.latest = false;
    } else {
      const shift = left < low ? low - left : right > high ? high - right : 0;
      this.view.window = [left + shift, right + shift];
    }
    this.redraw();
  }

  zoom(factor, about = null) {
    const [left, right] = this._window();
    const [low, high] = this.axis.whole();
    if (factor < 1 && (right - left) * factor < (high - low) * 1e-7) return;
    const fixed = about ?? (left + right) / 2;
    this.setWindow(fixed + (left - fixed) * factor, fixed + (right - fixed) * factor);
  }

  pan(part) {
    const [left, right] = this._window();
    this.setWindow(left + part * (right - left), right + part * (right - left));
  }

  // The next message, or the one before, of the same sender.
  step(by) {
    const { store, view, picture } = this;
    const sender = view.chosen >= 0 ? store.sender.data[view.chosen] : null;
    for (let i = view.chosen + by; i >= 0 && i < store.messages; i += by) {
      if (!picture.shown[i] || (sender !== null && store.sender.data[i] !== sender)) continue;
      this.bring(store.at.data[i]);
      this.choose(i);
      return;
    }
  }

  // Show a row of the trace: the message that it sends or ends, or what an actor did.
  showRow(row) {
    const { store } = this;
    const of = (column) => column.data.subarray(0, store.messages).indexOf(row);
    const i = of(store.row) >= 0 ? of(store.row) : of(store.endedRow);
    const mark = store.marks.find((m) => m.row === row);
    const call = store.calls.find((one) => one.row === row || one.end_row === row);
    if (mark) { this.bring(mark.at); this.chooseMark(mark); }
    else if (call) { this.bring(call.row === row ? call.at : call.to); this.chooseCall(call); }
    else if (i >= 0) { this.bring(store.at.data[i]); this.choose(i); }
  }

  // Have a time in view.
  bring(time) {
    const [left, right] = this._window();
    const x = this.axis.x(time);
    if (this.view.window && (x < left || x > right)) this.setWindow(x - (right - left) / 2, x + (right - left) / 2);
  }

  // What a row of the trace was about.
  rowWords(row) {
    const { store } = this;
    const mark = store.marks[lowerBoundBy(store.marks, row, (m) => m.row)];
    if (mark?.row === row) return markWords(mark, store);
    const call = store.calls.find((one) => one.row === row || one.end_row === row);
    if (call) return call.row === row ? `client ${call.client} asks ${who(call.party)}: ${call.asks}` : callWords(call);
    const of = (column) => column.data.subarray(0, store.messages).indexOf(row);
    const sent = of(store.row);
    if (sent >= 0) {
      const to = [];
      for (let i = sent; store.row.data[i] === row && i < store.messages; i++) to.push(store.receiver.data[i]);
      return `${who(store.sender.data[sent])} sends ${store.words[store.kind.data[sent]]} to ${to.map((p) => p || "the server").join(", ")}`;
    }
    const ended = of(store.endedRow);
    if (ended < 0) return "";
    const got = store.fate.data[ended] === DELIVERED ? "gets" : "never gets";
    return `${who(store.receiver.data[ended])} ${got} ${store.words[store.kind.data[ended]]} of ${who(store.sender.data[ended])}`;
  }

  // --- what is chosen ---

  messageWords(i) {
    const { store } = this;
    const fate = ["under way", "", "lost"][store.fate.data[i]];
    return `${store.words[store.kind.data[i]]} ${who(store.sender.data[i])} → ${who(store.receiver.data[i])} ${fate}`;
  }

  choose(i) {
    Object.assign(this.view, { chosen: i, chosenMark: null, chosenCall: null, lit: null });
    this.details.hidden = i < 0;
    if (i >= 0) {
      const { store } = this;
      const ready = store.facts.ready ?? 0, fate = store.fate.data[i];
      const ended = duration(store.ended.data[i] - ready);
      const rows = fate === FLYING ? store.row.data[i] : `${store.row.data[i]} and ${store.endedRow.data[i]}`;
      this._show(store.words[store.kind.data[i]], [
        ["way", `${who(store.sender.data[i])} → ${who(store.receiver.data[i])}`],
        ["says", store.words[store.text.data[i]]],
        ["sent", duration(store.at.data[i] - ready)],
        ["fate", ["under way", `arrived at ${ended}`, `lost: ${store.words[store.why.data[i]]}`][fate]],
        ["took", fate === DELIVERED ? duration(store.ended.data[i] - store.at.data[i]) : ""],
        ["by", ["link", "relay, sealed", "no way to reach it"][store.via.data[i]]],
        ["size", `${count(store.size.data[i])} bytes`],
        ["path", store.words[store.path.data[i]] || "(top)"],
        ["rows", rows],
      ], [["past", "what led to it"], ["future", "what it led to"], ["kind", "its kind"], ["path", "its path"],
        ...this.hands.messageButtons(i)]);
      this.options.onChoose?.(store.row.data[i]);
    }
    this.redraw();
  }

  chooseMark(mark) {
    Object.assign(this.view, { chosen: -1, chosenMark: mark, chosenCall: null, lit: null });
    this._show(mark.what.replaceAll("-", " "), [
      ["who", who(mark.actor)],
      ["when", duration(mark.at - (this.store.facts.ready ?? 0))],
      ["what", mark.long ?? mark.text],
      ["operation", mark.op && this.store.operation(mark.op)],
      ["row", mark.row],
    ], []);
    this.options.onChoose?.(mark.row);
    this.redraw();
  }

  chooseCall(call) {
    Object.assign(this.view, { chosen: -1, chosenMark: null, chosenCall: call, lit: null });
    const ready = this.store.facts.ready ?? 0;
    this._show(`client ${call.client}`, [
      ["asks", who(call.party)],
      ["what", call.text],
      ["from", duration(call.at - ready)],
      ["to", call.to === undefined ? "" : duration(call.to - ready)],
      ["end", call.end ?? "open"],
      ["heard", call.long],
      ["rows", call.end_row === undefined ? call.row : `${call.row} and ${call.end_row}`],
    ], []);
    this.options.onChoose?.(call.row);
    this.redraw();
  }

  chooseParty(party) {
    Object.assign(this.view, { chosen: -1, chosenMark: null, chosenCall: null, lit: null, party });
    const fields = this.store.stateAt(this.hands.row ?? Infinity).get(party) ?? new Map();
    const facts = [...fields].filter(([name]) => PLAIN.includes(name)).map(([name, [value]]) => [name, value]);
    this._show(who(party), facts, [["only", "its messages"], ...this.hands.partyButtons(party)]);
    this.redraw();
  }

  say(words) { this.error = ""; this.telling = words; this.redraw(); }

  _show(title, facts, buttons) {
    this.details.hidden = false;
    const line = ([name, value]) => `<dt>${name}</dt><dd>${escapeText(value)}</dd>`;
    this.details.innerHTML = `<h4>${escapeText(title)}</h4>
      <button data-do="close" class="close" title="Escape" aria-label="Close">×</button>
      <dl>${facts.filter(([, value]) => value !== undefined && value !== "").map(line).join("")}</dl>
      <div>${buttons.map(([what, words]) => `<button data-do="${what}">${words}</button>`).join(" ")}</div>`;
  }

  // --- drawing ---

  redraw() {
    if (this._asked) return;
    this._asked = true;
    requestAnimationFrame(() => {
      this._asked = false;
      const began = performance.now();
      this._draw();
      this.painted = this.store.marks.length;
      this.frames.push(performance.now() - began);
      if (this.frames.length > 600) this.frames.splice(0, 300);
    });
  }

  // The theme's colours; asked for again only now and then: the answer costs a style recalculation.
  _inks() {
    const now = performance.now();
    if (!this._ink || now - this._inkAt > 1000) { this._ink = inks(this.host); this._inkAt = now; }
    return this._ink;
  }

  _draw() {
    const width = this.stage.clientWidth;
    if (!width) return;
    const { picture } = this;
    const cursor = this.scrubber.at < 0 ? null : this.scrubber.time;
    picture.layout({ ...this.view, cursor, ink: this._inks() }, width);
    this.stage.style.height = `${picture.height}px`; // the canvas, laid over it, widens nothing
    picture.draw(sized(this.canvas, width, picture.height));
    picture.drawMap(sized(this.map, width, MINIMAP));
    const far = picture.inView > MOST_ARROWS ? " · zoom in to see single messages" : "";
    this.said.textContent = this.error || this.telling || `${count(picture.inView)} messages in view${far}`;
    this.said.classList.toggle("error", Boolean(this.error));
    if (!this.scrub.hidden) this.scrubber.draw();
    const { background, server, window: own, latest } = this.view;
    const pressed = { state: !this.scrub.hidden, scale: this.axis.kind === "time", background, server, latest: own === null && latest };
    for (const [what, on] of Object.entries(pressed)) this.host.querySelector(`[data-do=${what}]`).setAttribute("aria-pressed", on);
    this.host.querySelector("[data-do=branch]").hidden = !this.hands.can("branch") || this.scrubber.at < 0;
    this.host.querySelector("[data-do=server]").hidden = !this.store.lanes.includes(0);
    this._summarise();
  }

  // For those who do not see the picture, and the words that a filter may begin with.
  _summarise() {
    const { store } = this;
    if (this._summarised === store.version) return;
    this._summarised = store.version;
    const ends = {};
    for (const m of store.marks) if (["committed", "aborted", "expired"].includes(m.what)) (ends[m.what] ??= new Set()).add(m.op);
    for (const m of store.marks) if (m.other || (ends.committed?.has(m.op) && ends.aborted?.has(m.op))) (ends.split ??= new Set()).add(m.op);
    for (const what of ["committed", "aborted"]) for (const op of ends.split ?? []) ends[what]?.delete(op);
    const fates = Object.entries(ends).filter(([, ops]) => ops.size).map(([what, ops]) => `${ops.size} ${what}`).join(", ");
    const calls = ["ok", "failed", "unknown"].map((end) => [end, store.calls.filter((one) => one.end === end).length])
      .filter(([, many]) => many).map(([end, many]) => `${many} ${end}`).join(", ");
    const lost = store.fate.data.subarray(0, store.messages).reduce((sum, fate) => sum + (fate === DROPPED), 0);
    this.summary.textContent = `${store.facts.title ? `${store.facts.title}. ` : ""}`
      + `${store.lanes.filter((p) => p > 0).length} parties, ${count(store.messages)} messages, ${count(lost)} lost`
      + `${fates && `; operations: ${fates}`}${calls && `; calls of clients: ${calls}`}. Wheel or + and − zoom, drag or arrows move, a click opens, n and p step, / filters.`;
    const kinds = new Set(store.kind.data.subarray(0, Math.min(store.messages, 5000)));
    this.list.innerHTML = [...kinds].map((k) => `<option value="kind:${escapeText(store.words[k])}">`).join("") + '<option value="lost">';
  }
}

function callWords(call) {
  const heard = call.long && call.long !== call.end ? ` (${call.long})` : "";
  return `client ${call.client} asked ${who(call.party)}: ${call.text}: ${call.end ?? "open"}${heard}`;
}

function markWords(mark, store) {
  const op = mark.op ? store.operation(mark.op) : "";
  const said = mark.what === "proposed" ? "" : mark.long ?? mark.text ?? "";
  return [who(mark.actor), mark.what.replaceAll("-", " "), op, said].filter(Boolean).join(" ");
}

function inks(host) {
  const css = getComputedStyle(host);
  const names = { text: "--ink", muted: "--muted", faint: "--faint", paper: "--paper", good: "--good",
    bad: "--bad", warn: "--warn", gold: "--gold", proof: "--proof" };
  return Object.fromEntries(Object.entries(names).map(([name, variable]) => [name, css.getPropertyValue(variable).trim()]));
}

function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const w = Math.round(width * ratio), h = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  return c;
}
