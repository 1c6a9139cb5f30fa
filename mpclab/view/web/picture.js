// The drawing: from what a store holds and a window shows to pixels. Decides nothing, asks nobody.

const MOST_ARROWS = 2500; // in one picture; beyond that, how much was sent and lost is drawn
const MOST_HEADS = 1500;
const GROUPED = 12; // more parties than this are shown in groups, until one opens a group
const CALL = 15; // px of a client's call
const TOP = 20, AXIS = 24, LEFT = 74, RIGHT = 16, MINIMAP = 38;
const BANDS = ["#e8590c", "#7048e8", "#0b7285", "#a61e4d", "#5f6b7a"];
const FONT = "system-ui, sans-serif";

class Picture {
  constructor(store, axis) {
    this.store = store;
    this.axis = axis;
    this.visible = []; // the messages drawn as arrows, by number
    this.inView = 0; // how many messages the window holds
    this.marksDrawn = []; // [x, y, mark]
    this.clients = []; // lanes below the parties: { client, y, tall }
    this.callsDrawn = []; // [left, top, wide, tall, call]
  }

  // view: { window, scale, filter, background, server, open, chosen, chosenMark, lit, witnesses, ink }
  layout(view, width) {
    this.axis.choose(view.scale);
    this.view = view;
    this.width = width;
    this.plot = Math.max(50, width - LEFT - RIGHT);
    [this.left, this.right] = view.window ?? (view.latest ? this.axis.latest() : this.axis.whole());
    this.lanes = this._lanes();
    this.step = Math.max(20, Math.min(44, 400 / Math.max(1, this.lanes.length)));
    const room = this.store.bands.size ? 16 : 0;
    this.laneOf = new Map();
    this.lanes.forEach((lane, k) => {
      lane.y = TOP + room + (k + 0.5) * this.step;
      for (const party of lane.members) this.laneOf.set(party, k);
    });
    this._placeCalls(TOP + room + this.lanes.length * this.step);
    this.height = this.clients.reduce((sum, one) => sum + one.tall, TOP + room + this.lanes.length * this.step) + AXIS;
    this._choose();
  }

  // From top to bottom: the server, then single parties or groups of them.
  _lanes() {
    const { store, view } = this;
    const all = store.lanes.filter((p) => (p > 0 || view.server) && view.filter.party(p));
    const parties = all.filter((p) => p > 0);
    const lanes = all.filter((p) => p === 0).map((p) => ({ name: "server", members: [p] }));
    const size = parties.length <= GROUPED ? 1 : Math.ceil(parties.length / 10);
    for (let i = 0; i < parties.length; i += size) {
      const members = parties.slice(i, i + size);
      const group = size > 1 ? members[0] : undefined;
      if (size === 1 || view.open.has(group)) for (const p of members) lanes.push({ name: String(p), members: [p], group });
      else lanes.push({ name: `${members[0]}–${members[members.length - 1]}`, members, group });
    }
    return lanes;
  }

  // A lane for each client, from `top` down, with lines for calls that it made side by side.
  _placeCalls(top) {
    const { store, view } = this;
    if (this._placed !== store.version || this._placedFor !== view.filter.text) {
      this._placed = store.version;
      this._placedFor = view.filter.text;
      this._lines = new Map(); // client → the ends of its lines
      for (const call of store.calls) {
        call.shown = view.filter.party(call.party);
        if (!call.shown) continue;
        if (!this._lines.has(call.client)) this._lines.set(call.client, []);
        const ends = this._lines.get(call.client);
        const free = ends.findIndex((end) => end <= call.at);
        call.line = free < 0 ? ends.length : free;
        ends[call.line] = call.to ?? Infinity;
      }
    }
    this.clients = [...this._lines.keys()].sort((a, b) => a - b).map((client) => {
      const tall = CALL * this._lines.get(client).length + 6;
      const lane = { client, y: top + tall / 2, tall };
      top += tall;
      return lane;
    });
  }

  // Which messages are shown at all, and how many of them come before each. Those that came since
  // the last time are added, where no filter can change its mind about earlier ones.
  _choose() {
    const { store, view } = this;
    const key = [view.filter.text, view.background, this.lanes.map((l) => l.name)].join("|");
    if (this._chosenKey === key && this._chosen === store.version) return;
    const fresh = this._chosenKey !== key || view.filter.text !== "";
    this._chosenKey = key;
    this._chosen = store.version;
    this._density = null;
    if (fresh || !this._shown) { this._shown = new Column(Uint8Array); this._before = new Column(Uint32Array); this._before.push([0]); }
    const first = this._shown.length, more = store.messages - first;
    const shown = new Uint8Array(more), before = new Uint32Array(more);
    let sum = this._before.data[first];
    for (let k = 0, i = first; k < more; k++, i++) {
      shown[k] = (view.background || !store.background.data[i])
        && this.laneOf.has(store.sender.data[i]) && this.laneOf.has(store.receiver.data[i])
        && view.filter.message(i) ? 1 : 0;
      before[k] = sum += shown[k];
    }
    this._shown.push(shown);
    this._before.push(before);
    this.shown = this._shown.data;
    this.before = this._before.data;
  }

  px(x) { return LEFT + ((x - this.left) / (this.right - this.left)) * this.plot; }
  unpx(px) { return this.left + ((px - LEFT) / this.plot) * (this.right - this.left); }
  y(party) { const lane = this.laneOf.get(party); return lane === undefined ? undefined : this.lanes[lane].y; }
  colour(party) { return this.store.colours.get(party) ?? "#495464"; }

  draw(c) {
    const { store, view: { ink } } = this;
    c.clearRect(0, 0, this.width, this.height);
    if (store.lanes.length === 0) {
      c.font = `13px ${FONT}`;
      c.fillStyle = ink.muted;
      c.fillText("Nothing has been sent yet.", 14, 24);
      return;
    }
    this._drawBands(c);
    this._drawAxis(c);
    for (const lane of this.lanes) this._drawLane(c, lane);
    for (const lane of this.clients) this._nameClient(c, lane);
    c.save();
    c.beginPath();
    c.rect(LEFT - 6, 0, this.plot + 14, this.height - AXIS);
    c.clip();
    const from = this.axis.time(this.left), to = this.axis.time(this.right);
    const first = lowerBound(store.latest.data, from - store.longest, store.messages);
    const last = lowerBound(store.latest.data, to + 1, store.messages);
    this.inView = this.before[last] - this.before[first];
    this.visible = [];
    if (this.inView > MOST_ARROWS) this._drawDensity(c);
    else this._drawArrows(c, first, last, from);
    this._drawMarks(c, from, to);
    this._drawCalls(c, from, to);
    this._drawCursor(c);
    c.restore();
    this._drawGhost(c);
  }

  // The moment at which the scrubber stands; what comes after it is pale.
  _drawCursor(c) {
    const { cursor, ink } = this.view;
    if (cursor === null) return;
    const x = this.px(this.axis.x(cursor));
    c.fillStyle = ink.paper;
    c.globalAlpha = 0.55;
    c.fillRect(x, TOP - 4, LEFT + this.plot + 8 - x, this.height - AXIS - TOP + 4);
    c.globalAlpha = 1;
    c.strokeStyle = ink.text;
    c.lineWidth = 1.5;
    drawLine(c, x, TOP - 4, x, this.height - AXIS);
  }

  // What is being dragged.
  _drawGhost(c) {
    const { ghost, ink } = this.view;
    if (!ghost) return;
    c.strokeStyle = ink.bad;
    c.lineWidth = 2;
    c.setLineDash([6, 4]);
    if (ghost.cut !== undefined) drawLine(c, 0, ghost.cut, this.width, ghost.cut);
    else {
      const [x0, y0] = this.ends(ghost.message);
      drawLine(c, x0, y0, ghost.x, ghost.y);
    }
    c.setLineDash([]);
  }

  _drawBands(c) {
    let k = 0, free = -Infinity;
    c.font = `11px ${FONT}`;
    for (const band of this.store.bands.values()) {
      const colour = BANDS[k++ % BANDS.length];
      const left = Math.max(LEFT, this.px(this.axis.x(band.from)));
      const right = Math.min(LEFT + this.plot, this.px(this.axis.x(band.to ?? this.store.end)));
      if (right < LEFT || left > LEFT + this.plot) continue;
      const wide = Math.max(2, right - left);
      c.fillStyle = colour;
      c.globalAlpha = 0.09;
      const aimed = (band.parties ?? []).map((p) => this.y(p)).filter((y) => y !== undefined);
      if (aimed.length) for (const y of aimed) c.fillRect(left, y - this.step / 2, wide, this.step);
      else c.fillRect(left, TOP + 12, wide, this.height - TOP - 12 - AXIS);
      c.globalAlpha = 1;
      c.fillRect(left, TOP + 8, wide, 2.5);
      if (left <= free) continue;
      const text = fit(c, band.text, LEFT + this.plot - left);
      c.fillText(text, left + 1, TOP + 5);
      free = left + c.measureText(text).width + 10;
    }
  }

  _drawAxis(c) {
    const { ink } = this.view;
    const y = this.height - AXIS;
    c.strokeStyle = ink.faint;
    c.fillStyle = ink.muted;
    c.lineWidth = 1;
    drawLine(c, LEFT, y + 0.5, LEFT + this.plot, y + 0.5);
    c.font = `11px ${FONT}`;
    c.textAlign = "center";
    const ready = this.store.facts.ready ?? 0;
    // To scale, ticks are round times from the run's own zero.
    const zero = this.axis.kind === "time" ? ready / 1000 : 0;
    const step = niceStep((this.right - this.left) / Math.max(2, Math.floor(this.plot / 110)));
    const empty = this.axis.time(this.right) - this.axis.time(this.left) < 3; // µs: one moment
    for (let x = zero + Math.ceil((this.left - zero) / step) * step; x <= this.right && !empty; x += step) {
      c.fillRect(this.px(x), y, 1, 4);
      c.fillText(duration(Math.round(this.axis.time(x) - ready)), this.px(x), y + 16);
    }
    c.textAlign = "left";
    c.fillText(this.axis.kind === "time" ? "time" : "in order", 8, y + 16);
  }

  _drawLane(c, lane) {
    const { ink } = this.view;
    const single = lane.members.length === 1;
    const colour = single ? this.colour(lane.members[0]) : ink.muted;
    if (single) this._drawLife(c, lane.members[0], lane.y);
    else {
      c.strokeStyle = ink.muted;
      c.lineWidth = 1.2;
      drawLine(c, LEFT, lane.y, LEFT + this.plot, lane.y);
    }
    c.font = `600 12px ${FONT}`;
    const wide = Math.max(22, c.measureText(lane.name).width + 12);
    c.fillStyle = colour;
    c.beginPath();
    c.roundRect(LEFT - 12 - wide, lane.y - 9, wide, 18, 9);
    c.fill();
    c.fillStyle = "#fff";
    c.textAlign = "center";
    c.fillText(lane.name, LEFT - 12 - wide / 2, lane.y + 4);
    c.textAlign = "left";
  }

  // A party's line: solid while it is up, dotted while it is paused or down, gold while it leads.
  _drawLife(c, party, y) {
    const { ink } = this.view;
    const clamp = (px) => Math.max(LEFT, Math.min(LEFT + this.plot, px));
    let from = LEFT, life = "up", leads = false;
    const piece = (x1) => {
      if (x1 <= from) return;
      if (leads) {
        c.strokeStyle = ink.gold;
        c.globalAlpha = 0.45;
        c.lineWidth = 7;
        drawLine(c, from, y, x1, y);
        c.globalAlpha = 1;
      }
      c.strokeStyle = life === "up" ? this.colour(party) : ink.muted;
      c.lineWidth = life === "up" ? 1.6 : 1;
      c.setLineDash(life === "up" ? [] : life === "paused" ? [2, 3] : [1, 5]);
      drawLine(c, from, y, x1, y);
      c.setLineDash([]);
      if (life !== "up" && x1 - from > 46) {
        c.fillStyle = ink.muted;
        c.font = `italic 11px ${FONT}`;
        c.fillText(life, (from + x1) / 2 - 18, y - 4);
      }
    };
    for (const change of this.store.states.get(party) ?? []) {
      const x = clamp(this.px(this.axis.x(change.at)));
      piece(x);
      from = Math.max(from, x);
      if (change.life) life = change.life;
      if (life !== "up") leads = false;
      if (change.leads !== undefined) leads = change.leads;
    }
    piece(LEFT + this.plot);
  }

  // Where an arrow begins and ends, px. A message that did not arrive is as long as it came: the
  // cross of a lost one stands between two lines, so that it is nobody's.
  ends(i) {
    const { store } = this;
    const { from, to } = this.axis.places();
    const x0 = this.px(from[i]), y0 = this.y(store.sender.data[i]), y1 = this.y(store.receiver.data[i]);
    if (store.fate.data[i] === DELIVERED) return [x0, y0, this.px(to[i]), y1];
    const lanes = Math.max(1, Math.abs(y1 - y0) / this.step);
    const slope = Math.min(60, this.plot / 12);
    if (store.fate.data[i] === FLYING) {
      const now = Math.max(x0 + 8, Math.min(this.px(this.axis.x(store.end)), x0 + slope));
      return [x0, y0, now, y0 + (y1 - y0) * Math.min(0.9, Math.max(0.15, (now - x0) / slope))];
    }
    const far = store.via.data[i] === NONE ? 0.3 / lanes : (Math.floor(lanes / 2) + 0.5) / lanes;
    const end = Math.max(this.px(to[i]), x0 + slope);
    return [x0, y0, x0 + (end - x0) * far, y0 + (y1 - y0) * far];
  }

  _isProof(i) {
    const { store, view: { witnesses } } = this;
    return witnesses.size > 0 && (witnesses.has(store.row.data[i])
      || (store.fate.data[i] !== FLYING && witnesses.has(store.endedRow.data[i])));
  }

  _drawArrows(c, first, last, since) {
    const { store, view: { ink, lit, chosen } } = this;
    const many = this.inView;
    const alpha = many <= 80 ? 0.9 : many <= 400 ? 0.65 : many <= 1500 ? 0.42 : 0.25;
    const bundles = new Map(); // colour, way and brightness → one path
    const proof = new Path2D(), lost = new Path2D();
    for (let i = first; i < last; i++) {
      if (!this.shown[i] || (store.fate.data[i] !== FLYING && store.ended.data[i] < since)) continue;
      this.visible.push(i);
      const [x0, y0, x1, y1] = this.ends(i);
      const stands = this._isProof(i);
      const level = stands || (lit ? lit.has(i) : i === chosen) ? 2 : lit ? 0 : 1;
      const dropped = store.fate.data[i] === DROPPED;
      const way = dropped ? "lost" : store.via.data[i] === RELAY ? "relay" : "link";
      const colour = this.colour(store.sender.data[i]);
      const key = `${colour} ${way} ${level}`;
      let bundle = bundles.get(key);
      if (!bundle) bundles.set(key, bundle = { lines: new Path2D(), heads: new Path2D(), colour, way, level });
      bundle.lines.moveTo(x0, y0);
      bundle.lines.lineTo(x1, y1);
      if (store.fate.data[i] === DELIVERED && (level === 2 || many <= MOST_HEADS)) addHead(bundle.heads, x0, y0, x1, y1);
      if (dropped) for (const side of [-3, 3]) { lost.moveTo(x1 - 3, y1 - side); lost.lineTo(x1 + 3, y1 + side); }
      if (stands) { proof.moveTo(x0, y0); proof.lineTo(x1, y1); }
    }
    c.strokeStyle = ink.proof;
    c.lineWidth = 7;
    c.stroke(proof);
    for (const { lines, heads, colour, way, level } of bundles.values()) {
      c.strokeStyle = c.fillStyle = colour;
      c.globalAlpha = [alpha * 0.25, alpha, 1][level];
      c.lineWidth = level === 2 ? 2 : many <= 400 ? 1.2 : 0.8;
      c.setLineDash(way === "relay" ? [5, 3] : way === "lost" ? [2, 2] : []);
      c.stroke(lines);
      c.setLineDash([]);
      c.fill(heads);
    }
    c.globalAlpha = 1;
    c.strokeStyle = ink.bad;
    c.lineWidth = 1.6;
    c.stroke(lost);
  }

  // What each lane sent (above its line), got (below it), and what was lost on its way there (red):
  // set pixel by pixel, since thousands of small shapes would take a processor most of a second.
  _drawDensity(c) {
    const { store, view: { ink } } = this;
    this._density ??= new Density(store, this.axis, this.shown, this.lanes.length,
      (i) => [this.laneOf.get(store.sender.data[i]), this.laneOf.get(store.receiver.data[i])]);
    const ratio = window.devicePixelRatio || 1;
    const wide = Math.ceil((this.plot + 14) * ratio), high = Math.ceil((this.height - AXIS) * ratio);
    const { lanes, low, width } = this._density.level((this.right - this.left) / (this.plot * ratio));
    const size = lanes[0][0].length;
    const layer = this._layer ??= document.createElement("canvas");
    if (layer.width !== wide || layer.height !== high) { layer.width = wide; layer.height = high; }
    const lc = layer.getContext("2d");
    const image = lc.createImageData(wide, high);
    const pixels = new Uint32Array(image.data.buffer);
    // From a device column to a bin.
    const perColumn = (this.right - this.left) / (this.plot * ratio) / width;
    const start = (this.unpx(LEFT - 6) - low) / width;
    const first = Math.max(0, Math.floor(start)), last = Math.min(size, Math.ceil(start + wide * perColumn) + 1);
    let most = 1;
    for (const kinds of lanes) for (const bins of kinds) for (let b = first; b < last; b++) if (bins[b] > most) most = bins[b];
    const room = this.step * 0.46 * ratio;
    const run = (x, from, to, colour) => {
      for (let y = Math.max(0, from), place = y * wide + x; y < to && y < high; y++, place += wide) pixels[place] = colour;
    };
    const red = rgba(ink.bad, 0.9);
    lanes.forEach(([sent, got, lost], k) => {
      const lane = this.lanes[k], middle = Math.round(lane.y * ratio);
      const colour = lane.members.length > 1 ? ink.muted : this.colour(lane.members[0]);
      const strong = rgba(colour, 0.85), pale = rgba(colour, 0.4);
      for (let x = 0; x < wide; x++) {
        const b = Math.floor(start + x * perColumn);
        if (b < first || b >= last) continue;
        const up = Math.round(Math.sqrt(sent[b] / most) * room), down = Math.round(Math.sqrt(got[b] / most) * room);
        if (up) run(x, middle - up, middle, strong);
        if (down) run(x, middle, middle + down, pale);
        if (lost[b]) run(x, middle + down, middle + down + Math.max(2, Math.round(Math.sqrt(lost[b] / most) * room)), red);
      }
    });
    lc.putImageData(image, 0, 0);
    c.drawImage(layer, LEFT - 6, 0, wide / ratio, high / ratio);
  }

  _drawMarks(c, from, to) {
    const { store, view: { ink, witnesses, chosenMark } } = this;
    const first = lowerBoundBy(store.marks, from, (m) => m.at), last = lowerBoundBy(store.marks, to + 1, (m) => m.at);
    const shown = store.marks.slice(first, last).filter((m) => this.laneOf.has(m.actor));
    const beside = shown.length < 120; // there is room to put side by side what happened at once
    const small = shown.length > 400 || this.lanes.some((lane) => lane.members.length > 1);
    const taken = new Map();
    this.marksDrawn = shown.map((mark) => {
      const y = this.y(mark.actor);
      let x = this.px(this.axis.x(mark.at));
      if (beside) taken.set(y, x = Math.max(x, Math.min(x + 24, (taken.get(y) ?? -Infinity) + 10)));
      return [x, y, mark];
    });
    c.fillStyle = ink.proof;
    for (const [x, y, mark] of this.marksDrawn) {
      if (!witnesses.has(mark.row) && chosenMark !== mark) continue;
      c.beginPath();
      c.arc(x, y, 11, 0, 7);
      c.fill();
    }
    if (small) { this._drawDots(c); return; }
    const written = new Map(); // y → px up to which words stand there
    c.font = `11px ${FONT}`;
    for (const [x, y, mark] of this.marksDrawn) {
      const mood = moodOf(mark, ink);
      drawGlyph(c, GLYPHS[mark.what] ?? "dot", x, y, 5, mood, ink.paper);
      const half = mark.text ? c.measureText(mark.text).width / 2 : Infinity;
      if (x - half < (written.get(y) ?? -Infinity) || half === Infinity) continue;
      written.set(y, x + half + 8);
      c.lineWidth = 3;
      c.strokeStyle = ink.paper;
      c.fillStyle = mood;
      c.strokeText(mark.text, x - half, y - 9);
      c.fillText(mark.text, x - half, y - 9);
    }
  }

  _nameClient(c, lane) {
    const { ink } = this.view;
    c.strokeStyle = ink.faint;
    c.lineWidth = 1;
    drawLine(c, LEFT, lane.y, LEFT + this.plot, lane.y);
    c.font = `11px ${FONT}`;
    c.fillStyle = ink.muted;
    c.textAlign = "right";
    c.fillText(`client ${lane.client}`, LEFT - 12, lane.y + 4);
    c.textAlign = "left";
  }

  // What clients asked, from when to when, and how it ended: by colour, by edge and by sign.
  _drawCalls(c, from, to) {
    const { store, view: { ink, witnesses, chosenCall } } = this;
    const lanes = new Map(this.clients.map((lane) => [lane.client, lane]));
    this.callsDrawn = [];
    for (const call of store.calls) {
      if (!call.shown || call.at > to || (call.to ?? Infinity) < from) continue;
      const lane = lanes.get(call.client);
      const left = Math.max(LEFT - 6, this.px(this.axis.x(call.at)));
      const right = Math.min(LEFT + this.plot + 8, this.px(this.axis.x(call.to ?? store.end)));
      this.callsDrawn.push([left, lane.y - lane.tall / 2 + 3 + call.line * CALL, Math.max(3, right - left), CALL - 2, call]);
    }
    c.font = `11px ${FONT}`;
    const written = new Map(); // top → from which px to which words stand there
    const proves = (call) => witnesses.has(call.row) || witnesses.has(call.end_row) || call === chosenCall;
    const proofs = this.callsDrawn.filter((one) => proves(one[4])); // their words come first
    for (const [left, top, wide, tall, call] of [...proofs, ...this.callsDrawn.filter((one) => !proves(one[4]))]) {
      const [sign, mood, dash] = callLook(call, ink);
      const stands = proves(call);
      c.fillStyle = stands ? ink.proof : mood;
      c.globalAlpha = stands ? 1 : 0.16;
      c.fillRect(left, top, wide, tall);
      c.globalAlpha = 1;
      c.strokeStyle = mood;
      c.lineWidth = stands ? 2 : 1.2;
      c.setLineDash(dash);
      c.strokeRect(left, top, wide, tall);
      c.setLineDash([]);
      const text = `${sign} ${call.text} @${call.party}`, end = left + c.measureText(text).width + 10;
      if (!written.has(top)) written.set(top, []);
      if (written.get(top).some(([from, to]) => left < to && from < end)) continue;
      written.get(top).push([left, end]);
      c.lineWidth = 3;
      c.strokeStyle = ink.paper;
      c.fillStyle = stands ? "#1d2733" : mood;
      if (!stands) c.strokeText(text, left + 4, top + tall - 3);
      c.fillText(text, left + 4, top + tall - 3);
    }
  }

  // Marks too many for shapes: dots, one path for each colour.
  _drawDots(c) {
    const paths = new Map();
    for (const [x, y, mark] of this.marksDrawn) {
      const mood = moodOf(mark, this.view.ink);
      if (!paths.has(mood)) paths.set(mood, new Path2D());
      paths.get(mood).rect(x - 1.5, y - 4, 3, 8);
    }
    for (const [mood, path] of paths) { c.fillStyle = mood; c.fill(path); }
  }

  // The whole run in a strip, and which part of it is shown.
  drawMap(c) {
    const { store, view: { ink } } = this;
    const [low, high] = this.axis.whole();
    const bins = Math.ceil(this.plot / 2);
    const key = `${store.version} ${bins} ${this.axis.kind}`;
    if (this._mapKey !== key) {
      this._mapKey = key;
      this._map = [new Uint32Array(bins), new Uint32Array(bins)];
      const { from } = this.axis.places();
      for (let i = 0; i < store.messages; i++) {
        const b = Math.floor(((from[i] - low) / (high - low)) * bins);
        if (store.background.data[i] || b < 0 || b >= bins) continue;
        this._map[0][b]++;
        if (store.fate.data[i] === DROPPED) this._map[1][b]++;
      }
    }
    const ratio = window.devicePixelRatio || 1;
    const drawn = `${key} ${ratio} ${ink.muted}`;
    if (this._mapDrawn !== drawn) {
      this._mapDrawn = drawn;
      const layer = this._mapLayer = document.createElement("canvas");
      const lc = sized(layer, this.width, MINIMAP);
      const most = this._map[0].reduce((a, b) => Math.max(a, b), 1);
      this._map.forEach((counts, j) => {
        lc.fillStyle = j ? ink.bad : ink.muted;
        lc.globalAlpha = j ? 1 : 0.5;
        for (let b = 0; b < bins; b++) {
          const tall = Math.sqrt(counts[b] / most) * (MINIMAP - 6);
          if (tall) lc.fillRect(LEFT + b * 2, MINIMAP - 3 - tall, 2, tall);
        }
      });
    }
    c.clearRect(0, 0, this.width, MINIMAP);
    c.drawImage(this._mapLayer, 0, 0, this.width, MINIMAP);
    const at = (x) => LEFT + ((x - low) / (high - low)) * this.plot;
    const x0 = at(this.left), wide = Math.max(2, at(this.right) - x0);
    c.strokeStyle = "#3d7cb8";
    c.fillStyle = "rgba(61, 124, 184, .14)";
    c.lineWidth = 1.5;
    c.fillRect(x0, 1, wide, MINIMAP - 2);
    c.strokeRect(x0, 1, wide, MINIMAP - 2);
  }

  // The message or mark nearest to a point, or null.
  at(px, py) {
    for (const [x, y, mark] of this.marksDrawn) if (Math.hypot(x - px, y - py) < 7) return { mark };
    for (const [left, top, wide, tall, call] of this.callsDrawn) {
      if (px >= left && px <= left + wide && py >= top && py <= top + tall) return { call };
    }
    let best = null, least = 7;
    for (const i of this.visible) {
      const d = distance(px, py, ...this.ends(i));
      if (d < least) { least = d; best = { message: i }; }
    }
    return best;
  }
}

// A colour (#rgb, #rrggbb or rgb(…)) as a pixel of an ImageData.
const COLOURS = new Map();
function rgba(colour, alpha) {
  const key = `${colour} ${alpha}`;
  if (!COLOURS.has(key)) {
    const c = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
    c.globalAlpha = alpha;
    c.fillStyle = colour;
    c.fillRect(0, 0, 1, 1);
    COLOURS.set(key, new Uint32Array(c.getImageData(0, 0, 1, 1).data.buffer)[0]);
  }
  return COLOURS.get(key);
}

function moodOf(mark, ink) {
  if (["rejected", "aborted", "failed"].includes(mark.what) || mark.other) return ink.bad;
  if (["blocked", "blamed", "acted", "expired"].includes(mark.what)) return ink.warn;
  if (mark.what === "became-leader") return ink.gold;
  return ["proposed", "entered-view", "stepped-down", "voters"].includes(mark.what) ? ink.text : ink.good;
}

// The sign, colour and edge of a client's call.
function callLook(call, ink) {
  return { ok: ["✓", ink.good, []], failed: ["✗", ink.bad, []], unknown: ["?", ink.warn, [5, 3]] }[call.end]
    ?? ["…", ink.muted, [2, 2]];
}

function fit(c, text, room) {
  let shown = text;
  while (shown.length > 1 && c.measureText(shown).width > room) shown = `${shown.slice(0, -2)}…`;
  return shown;
}

function distance(px, py, x0, y0, x1, y1) {
  const dx = x1 - x0, dy = y1 - y0;
  const t = Math.max(0, Math.min(1, ((px - x0) * dx + (py - y0) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(px - x0 - t * dx, py - y0 - t * dy);
}
