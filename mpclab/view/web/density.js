// How much was sent, got and lost, for where single arrows could not be told apart. Counted once
// in narrow bins, and for each zoom in bins twice as wide: a frame reads only what it shows.

class Density {
  // lanes: how many; laneOf(i): of the sender and of the receiver of message i.
  constructor(store, axis, shown, lanes, laneOf) {
    const [low, high] = axis.whole();
    const bins = 2 ** Math.ceil(Math.log2(Math.min(131072, Math.max(1024, store.messages / 6))));
    this.low = low;
    this.width = (high - low) / bins || 1;
    let level = Array.from({ length: lanes }, () => [new Uint32Array(bins), new Uint32Array(bins), new Uint32Array(bins)]);
    const { from, to } = axis.places();
    for (let i = 0; i < store.messages; i++) {
      if (!shown[i]) continue;
      const [sender, receiver] = laneOf(i);
      const s = Math.floor((from[i] - low) / this.width);
      if (s >= 0 && s < bins) level[sender][0][s]++;
      const e = Math.floor((to[i] - low) / this.width); // NaN while it flies: in no bin
      if (e >= 0 && e < bins) level[receiver][store.fate.data[i] === DROPPED ? 2 : 1][e]++;
    }
    this.levels = [level];
    for (let size = bins / 2; size >= 256; size /= 2) {
      level = level.map((lane) => lane.map((fine) => {
        const wide = new Uint32Array(size);
        for (let b = 0; b < size; b++) wide[b] = fine[2 * b] + fine[2 * b + 1];
        return wide;
      }));
      this.levels.push(level);
    }
  }

  // The level whose bins are at least `least` wide, and what it needs to be drawn.
  level(least) {
    let k = 0;
    while (k < this.levels.length - 1 && this.width * 2 ** k < least) k++;
    return { lanes: this.levels[k], low: this.low, width: this.width * 2 ** k };
  }
}
