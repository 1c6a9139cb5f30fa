// Where a time stands: to scale, or with the same room for every moment at which something
// happened. x is in ms, or in moments; the picture turns it into pixels.

class Axis {
  constructor(store) { this.store = store; this.kind = "time"; this._kind = ""; }

  // The kind in which arrows can be told apart: to scale they stand upright when flights are short.
  choose(wanted) {
    this.kind = wanted;
    if (wanted !== "auto") return;
    const { store } = this;
    let sum = 0, count = 0;
    for (let i = 0; i < Math.min(store.messages, 500); i++) {
      if (store.fate.data[i] === DELIVERED) { sum += store.ended.data[i] - store.at.data[i]; count++; }
    }
    const span = store.busy - (store.facts.ready ?? 0);
    this.kind = count && sum / count / (span || 1) < 0.004 ? "order" : "time";
  }

  x(time) {
    if (this.kind === "time") return time / 1000;
    const { data: moments, length } = this.store.moments;
    const i = lowerBound(moments, time, length);
    if (i === 0) return 0;
    if (i === length) return length - 1;
    if (moments[i] === time) return i;
    return i - 1 + (time - moments[i - 1]) / (moments[i] - moments[i - 1]);
  }

  time(x) {
    if (this.kind === "time") return x * 1000;
    const { data: moments, length } = this.store.moments;
    if (length === 0) return 0;
    const last = length - 1;
    const i = Math.max(0, Math.min(last, Math.floor(x)));
    return moments[i] + (x - i) * (moments[Math.min(last, i + 1)] - moments[i]);
  }

  // The x of every sending and every end: what is drawn at each frame is not searched for again.
  // Moments are only ever added behind, so that what was placed stays where it is.
  places() {
    const { store } = this;
    if (this._kind !== this.kind) {
      this._kind = this.kind;
      this._from = new Column(Float64Array);
      this._to = new Column(Float64Array);
      this._ended = 0;
    }
    const first = this._from.length, more = store.messages - first;
    if (more > 0) {
      const from = new Float64Array(more);
      for (let k = 0; k < more; k++) from[k] = this.x(store.at.data[first + k]);
      this._from.push(from);
      this._to.push(new Float64Array(more).fill(NaN));
    }
    for (; this._ended < store.endings.length; this._ended++) {
      const i = store.endings.data[this._ended];
      this._to.data[i] = this.x(store.ended.data[i]);
    }
    return { from: this._from.data, to: this._to.data };
  }

  // The whole run, with a little room beside it; heartbeats after its end are left out.
  whole() {
    const { store } = this;
    const start = store.facts.ready ?? (store.moments.length ? store.moments.data[0] : 0);
    return this._roomy(Math.min(start, store.busy), store.busy);
  }

  // From the latest proposal on.
  latest() {
    const { store } = this;
    const since = store.marks.findLast((mark) => mark.what === "proposed")?.at;
    return since === undefined ? this.whole() : this._roomy(since, store.busy);
  }

  _roomy(from, to) {
    const low = this.x(from), high = this.x(to);
    const room = Math.max((high - low) * 0.02, 1e-3);
    return [low - room, high + room];
  }
}
