// What a picture needs of one run: columns of numbers that grow by chunks (view/feed.py).

const LINK = 0, RELAY = 1, NONE = 2; // the way of a message
const FLYING = 0, DELIVERED = 1, DROPPED = 2; // its fate

class Column {
  // An array that grows. `data` may be longer than `length`.
  constructor(type) { this.type = type; this.data = new type(256); this.length = 0; }
  push(values) {
    const needed = this.length + values.length;
    if (needed > this.data.length) {
      const more = new this.type(Math.max(needed, this.data.length * 2));
      more.set(this.data.subarray(0, this.length));
      this.data = more;
    }
    this.data.set(values, this.length);
    this.length = needed;
  }
}

const TYPES = { f64: Float64Array, u32: Uint32Array, u16: Uint16Array, i16: Int16Array, u8: Uint8Array };
const SENT = { at: "f64", sender: "i16", receiver: "i16", kind: "u16", path: "u16", text: "u32",
  size: "u32", via: "u8", background: "u8", row: "u32", id: "f64" };

class Store {
  // Everything of one run that a picture needs. Times are µs.
  constructor() {
    for (const name in SENT) this[name] = new Column(TYPES[SENT[name]]);
    this.ended = new Column(Float64Array);
    this.fate = new Column(Uint8Array);
    this.endedRow = new Column(Uint32Array);
    this.why = new Column(Uint32Array);
    this.endings = new Column(Uint32Array); // messages in the order in which they ended
    this.words = [""];
    this.lanes = [];
    this.colours = new Map();
    this.operations = new Map(); // op → { number, text }
    this.marks = []; // what actors did, in the order of the trace
    this.bands = new Map();
    this.calls = []; // of clients: { client, party, at, row, text, to?, end?, long?, end_row? }
    this.states = new Map(); // actor → [{at, life?, leads?}, …]
    this.moments = new Column(Float64Array); // every time at which something happened, once
    this.steps = { row: new Column(Uint32Array), at: new Column(Float64Array) }; // that one can stop at
    this.changes = { at: new Column(Float64Array), actor: new Column(Int16Array), name: new Column(Uint32Array),
      value: new Column(Uint32Array), row: new Column(Uint32Array) };
    this.latest = new Column(Float64Array); // the greatest time of sending so far: to search in
    this.facts = {};
    this.longest = 0; // the longest flight, µs: how far back of a window one has to look
    this.end = 0; // the time of the last row
    this.busy = 0; // the time of the last thing that is not background
    this.version = 0;
  }

  get messages() { return this.at.length; }

  // One name for an operation everywhere: its number and what it says.
  operation(op) {
    const known = this.operations.get(op);
    return known ? `${known.number} · ${known.text}` : op;
  }

  // Take one chunk: a length, a JSON head, and columns (mpclab/view/feed.py).
  append(buffer) {
    const view = buffer instanceof ArrayBuffer ? new DataView(buffer)
      : new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    const size = view.getUint32(0, true);
    const bytes = new Uint8Array(view.buffer, view.byteOffset + 4, size);
    const head = JSON.parse(new TextDecoder().decode(bytes));
    let place = view.byteOffset + 4 + size;
    const columns = {};
    for (const [name, type, length] of head.columns) {
      const width = TYPES[type].BYTES_PER_ELEMENT * length;
      columns[name] = new TYPES[type](view.buffer.slice(place, place + width));
      place += width;
    }
    this._take(head, columns);
  }

  _take(head, columns) {
    for (const word of head.words) this.words.push(word);
    for (const [lane, colour] of head.lanes) { this.lanes.push(lane); this.colours.set(lane, colour); }
    this.lanes.sort((a, b) => a - b);
    const first = this.messages, more = columns.at.length;
    for (const name in SENT) this[name].push(columns[name]);
    const latest = new Float64Array(more);
    let last = first ? this.latest.data[first - 1] : 0;
    for (let k = 0; k < more; k++) last = latest[k] = Math.max(last, columns.at[k]);
    this.latest.push(latest);
    this.ended.push(new Float64Array(more).fill(NaN));
    this.fate.push(new Uint8Array(more));
    this.endedRow.push(new Uint32Array(more));
    this.why.push(new Uint32Array(more));
    const { flight, end_at, end_fate, end_row, end_why } = columns;
    this.endings.push(flight);
    for (let k = 0; k < flight.length; k++) {
      const i = flight[k];
      this.ended.data[i] = end_at[k];
      this.fate.data[i] = end_fate[k];
      this.endedRow.data[i] = end_row[k];
      this.why.data[i] = end_why[k];
      this.longest = Math.max(this.longest, end_at[k] - this.at.data[i]);
    }
    for (const mark of head.marks) {
      this.marks.push(mark);
      if (mark.what !== "proposed" || this.operations.has(mark.op)) continue;
      const said = (mark.long ?? mark.text ?? "").replace(`${mark.text}: `, "");
      this.operations.set(mark.op, { number: this.operations.size + 1, text: said.length > 28 ? `${said.slice(0, 27)}…` : said });
    }
    for (const band of head.bands) this.bands.set(band.index, { ...this.bands.get(band.index), ...band });
    for (const one of head.calls) this.calls[one.call] = { ...this.calls[one.call], ...one };
    for (const state of head.states) {
      if (!this.states.has(state.actor)) this.states.set(state.actor, []);
      this.states.get(state.actor).push(state);
    }
    Object.assign(this.facts, head.facts);
    for (const name in this.changes) this.changes[name].push(columns[`now_${name}`]);
    this._step(head, columns);
    this.end = Math.max(this.end, head.end);
    this.version++;
  }

  // The rows at which something can be seen, in their order, and the moments of them.
  _step(head, columns) {
    const [from, until] = head.rows, { flight, end_at, end_row } = columns;
    const times = new Float64Array(until - from).fill(NaN), seen = new Uint8Array(until - from);
    const take = (row, at, background) => {
      const k = row - from;
      if (k < 0 || k >= times.length) return;
      times[k] = at;
      if (!background) { seen[k] = 1; this.busy = Math.max(this.busy, at); }
    };
    for (let k = 0; k < columns.row.length; k++) take(columns.row[k], columns.at[k], columns.background[k]);
    for (let k = 0; k < flight.length; k++) take(end_row[k], end_at[k], this.background.data[flight[k]]);
    for (let k = 0; k < columns.now_row.length; k++) {
      if (Number.isNaN(times[columns.now_row[k] - from])) take(columns.now_row[k], columns.now_at[k], 1);
    }
    for (const mark of head.marks) take(mark.row, mark.at, 0);
    for (const one of head.calls) take(one.end_row ?? one.row, one.to ?? one.at, 0);
    const moments = [], rows = [], ats = [];
    let last = this.moments.length ? this.moments.data[this.moments.length - 1] : -Infinity;
    for (let k = 0; k < times.length; k++) {
      const t = times[k];
      if (Number.isNaN(t)) continue;
      // Real hosts may write a row of another thread a little late: moments never go back.
      if (t > last) { moments.push(t); last = t; }
      if (seen[k]) { rows.push(from + k); ats.push(last); }
    }
    this.moments.push(moments);
    this.steps.row.push(rows);
    this.steps.at.push(ats);
  }

  // What is so after row `row`: actor → name → [value, the row since when].
  stateAt(row) {
    const { changes } = this;
    // Going on from the last question costs what came between.
    if (!this._state || this._state.row > row) this._state = { row: -1, read: 0, actors: new Map() };
    const state = this._state;
    while (state.read < changes.row.length && changes.row.data[state.read] <= row) {
      const k = state.read++, actor = changes.actor.data[k];
      if (!state.actors.has(actor)) state.actors.set(actor, new Map());
      const value = this.words[changes.value.data[k]], name = this.words[changes.name.data[k]];
      if (value) state.actors.get(actor).set(name, [value, changes.row.data[k]]);
      else state.actors.get(actor).delete(name);
    }
    state.row = row;
    return state.actors;
  }

  // What changed in exactly these rows: [actor, name, value].
  changesIn(first, last) {
    const { changes } = this;
    const found = [];
    for (let k = lowerBound(changes.row.data, first, changes.row.length); k < changes.row.length && changes.row.data[k] <= last; k++) {
      found.push([changes.actor.data[k], this.words[changes.name.data[k]], this.words[changes.value.data[k]]]);
    }
    return found;
  }
}

function lowerBound(values, wanted, length) {
  let low = 0, high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < wanted) low = middle + 1; else high = middle;
  }
  return low;
}

function lowerBoundBy(list, wanted, value) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (value(list[middle]) < wanted) low = middle + 1; else high = middle;
  }
  return low;
}
