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
    this.words = [""];
    this.lanes = [];
    this.colours = new Map();
    this.marks = []; // what actors did, in the order of the trace
    this.bands = new Map();
    this.states = new Map(); // actor → [{at, life?, leads?}, …]
    this.moments = []; // every time at which something happened, once
    this.latest = new Column(Float64Array); // the greatest time of sending so far: to search in
    this.facts = {};
    this.longest = 0; // the longest flight, µs: how far back of a window one has to look
    this.end = 0; // the time of the last row
    this.busy = 0; // the time of the last thing that is not background
    this.version = 0;
  }

  get messages() { return this.at.length; }

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
    for (let k = 0; k < flight.length; k++) {
      const i = flight[k];
      this.ended.data[i] = end_at[k];
      this.fate.data[i] = end_fate[k];
      this.endedRow.data[i] = end_row[k];
      this.why.data[i] = end_why[k];
      this.longest = Math.max(this.longest, end_at[k] - this.at.data[i]);
    }
    for (const mark of head.marks) this.marks.push(mark);
    for (const band of head.bands) this.bands.set(band.index, { ...this.bands.get(band.index), ...band });
    for (const state of head.states) {
      if (!this.states.has(state.actor)) this.states.set(state.actor, []);
      this.states.get(state.actor).push(state);
    }
    Object.assign(this.facts, head.facts);
    for (let i = first; i < this.messages; i++) this._moment(this.at.data[i], this.background.data[i]);
    for (let k = 0; k < flight.length; k++) this._moment(end_at[k], this.background.data[flight[k]]);
    for (const mark of head.marks) this._moment(mark.at, 0);
    this.end = Math.max(this.end, head.end);
    this.version++;
  }

  _moment(t, background) {
    if (!background) this.busy = Math.max(this.busy, t);
    const moments = this.moments;
    const last = moments[moments.length - 1];
    if (moments.length === 0 || t > last) { moments.push(t); return; }
    if (t === last) return;
    const i = lowerBound(moments, t, moments.length);
    if (moments[i] !== t) moments.splice(i, 0, t);
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
