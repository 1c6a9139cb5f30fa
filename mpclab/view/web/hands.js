// What one can do to the run from its picture, where somebody does it: `options.act(deed)`.
// A deed: { verb, row?, … }; with a row, the run is turned back to just after that row first.

const PARTY_VERBS = {
  crash: "crash it", restart: "restart it", pause: "pause it", resume: "let it go on", corrupt: "let it lie",
};
const MESSAGE_VERBS = { lose: "lose it", hold: "hold it for 1 s", duplicate: "send it twice" };

class Hands {
  constructor(diagram) {
    this.diagram = diagram;
    this.grip = null; // what is dragged: { message } or { cut: true }
  }

  can(verb) { return Boolean(this.diagram.options.able?.().includes(verb)); }

  // The row to which the run is turned back before anything else is done; undefined: it goes on.
  get row() { const { row } = this.diagram.scrubber; return row < 0 ? undefined : row; }

  do(verb, more = {}) {
    this.diagram.options.act?.({ verb, row: this.row, ...more });
    this.diagram.scrubber.leave();
  }

  doMessage(verb, i, more = {}) {
    const { store } = this.diagram;
    this.diagram.options.act?.({
      verb, row: store.row.data[i], flying: store.fate.data[i] === FLYING, id: store.id.data[i],
      sender: store.sender.data[i], receiver: store.receiver.data[i], ...more,
    });
    this.diagram.scrubber.leave();
  }

  messageButtons(i) {
    if (!this.can("lose") || this.diagram.store.via.data[i] === NONE) return [];
    return Object.entries(MESSAGE_VERBS).map(([verb, words]) => [`message:${verb}`, words]);
  }

  partyButtons(party) {
    const life = this.diagram.store.stateAt(this.row ?? Infinity).get(party)?.get("life")?.[0] ?? "up";
    const fits = { up: ["crash", "pause", "corrupt"], crashed: ["restart"], paused: ["resume", "crash"] }[life] ?? [];
    return fits.filter((verb) => this.can(verb)).map((verb) => [`party:${verb}`, PARTY_VERBS[verb]]);
  }

  // --- dragging ---

  // What a drag that begins here moves: a message, or a cut between lanes from the margin on.
  take(event) {
    const { picture } = this.diagram;
    this.grip = null;
    if (event.offsetX < LEFT - 6) {
      if (this.can("partition") && !this._laneAt(event.offsetY)) this.grip = { cut: true, y: event.offsetY };
    } else if (this.can("lose")) {
      const found = picture.at(event.offsetX, event.offsetY);
      if (found?.message !== undefined && this.diagram.store.via.data[found.message] !== NONE) this.grip = found;
    }
    return this.grip !== null;
  }

  _laneAt(y) { return this.diagram.picture.lanes.some((lane) => Math.abs(lane.y - y) < 10); }

  // What letting go here would do, in words; it is drawn as a ghost.
  move(event) {
    const { diagram, grip } = this, { picture } = diagram;
    const x = event.offsetX, y = event.offsetY;
    if (grip.cut) {
      diagram.view.ghost = { cut: grip.y };
      diagram.say(x > LEFT + 20 ? this._cutWords(grip.y) : "draw on to the right: who is above and who below");
    } else {
      diagram.view.ghost = { message: grip.message, x, y };
      diagram.say(this._words(event));
    }
    diagram.redraw();
  }

  drop(event) {
    const { diagram, grip } = this;
    this.grip = diagram.view.ghost = null;
    diagram.say("");
    if (grip.cut) {
      if (event.offsetX > LEFT + 20) this.do("partition", { groups: this._groups(grip.y) });
    } else {
      const verb = this._verb(event), { axis, picture } = diagram;
      this.doMessage(verb, grip.message, verb === "hold" ? { until: Math.round(axis.time(picture.unpx(event.offsetX))) } : {});
    }
    diagram.redraw();
  }

  cancel() { this.grip = this.diagram.view.ghost = null; this.diagram.say(""); this.diagram.redraw(); }

  _verb(event) {
    const { lanes, step, height } = this.diagram.picture;
    const outside = event.offsetY < lanes[0].y - step * 0.8 || event.offsetY > Math.min(height - AXIS, lanes[lanes.length - 1].y + step * 0.6);
    return event.shiftKey ? "duplicate" : outside ? "lose" : "hold";
  }

  _words(event) {
    const { axis, picture, store } = this.diagram;
    const time = axis.time(picture.unpx(event.offsetX)) - (store.facts.ready ?? 0);
    return { duplicate: "arrives twice", lose: "is lost",
      hold: `arrives at ${duration(Math.round(time))} · outside the lanes: lost · with Shift: twice` }[this._verb(event)];
  }

  _groups(y) {
    const above = [], below = [];
    for (const lane of this.diagram.picture.lanes) {
      for (const party of lane.members) if (party > 0) (lane.y < y ? above : below).push(party);
    }
    return [above, below];
  }

  _cutWords(y) {
    const [above, below] = this._groups(y);
    return above.length && below.length ? `${above.join(", ")} | ${below.join(", ")} cannot hear each other` : "nobody is on one side";
  }
}
