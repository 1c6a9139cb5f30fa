// Any moment of the run: a cursor on its steps, and how every party stood there.

const OUTER = /^(life|phase|term|view|leads|voters|waits for|blocked)$|^(vote|operation|history|link|stored|output|blames) /;
const PLAIN = ["life", "leads", "term", "view", "voters", "phase", "waits for", "blocked"];

class Scrubber {
  // Below a diagram. `at` is the number of a step of the store, or -1: the present.
  constructor(diagram, host) {
    this.diagram = diagram;
    this.at = -1;
    this.open = null; // the party of which everything is shown
    this.inner = new Map(); // row → what the kernel found inside the parties
    host.innerHTML = `
      <div class="bar" role="toolbar" aria-label="Moments">
        <button data-do="back" title="one step back (,)" aria-label="One step back">◀</button>
        <input type="range" min="0" value="0" aria-label="Moment of the run" />
        <button data-do="forth" title="one step on (.)" aria-label="One step on">▶</button>
        <button data-do="present" title="no moment: the whole run">now</button>
        <button data-do="branch" title="turn the lab back to this moment, and go another way">Branch here</button>
      </div>
      <p class="happened" role="status" aria-live="polite"></p>
      <table class="parties"><tbody></tbody></table>
      <p class="cut"></p>`;
    this.host = host;
    this.slider = host.querySelector("input");
    this.happened = host.querySelector(".happened");
    this.table = host.querySelector("tbody");
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
    this.table.addEventListener("click", (event) => {
      const line = event.target.closest("tr[data-party]");
      if (line) this.unfold(Number(line.dataset.party));
    });
  }

  get steps() { return this.diagram.store.steps; }
  get row() { return this.at < 0 ? -1 : this.steps.row.data[this.at]; }
  get time() { return this.steps.at.data[this.at]; }

  seek(step) {
    const last = this.steps.row.length - 1;
    this.at = last < 0 ? -1 : Math.max(0, Math.min(last, step));
    this.diagram.bring(this.time);
    this.ask();
    this.diagram.redraw();
  }

  step(by) { this.seek(this.at < 0 ? this.steps.row.length - 1 + Math.min(0, by) : this.at + by); }

  // The last step that had happened at a time.
  seekTime(time) { this.seek(lowerBound(this.steps.at.data, time + 0.5, this.steps.at.length) - 1); }
  seekRow(row) { this.seek(lowerBound(this.steps.row.data, row + 1, this.steps.row.length) - 1); }

  leave() { this.at = -1; this.diagram.redraw(); }

  unfold(party) {
    this.open = this.open === party ? null : party;
    this.ask();
    this.diagram.redraw();
  }

  // Have the kernel look inside the parties, where there is one that can.
  ask() {
    if (this.open === null || this.inner.has(this.row)) return;
    const row = this.at < 0 ? -1 : this.row;
    if (this.diagram.options.look) this.diagram.options.look(row);
  }

  found(row, parties) {
    if (this.inner.size > 200) this.inner.clear();
    this.inner.set(row, parties);
    this.diagram.redraw();
  }

  draw() {
    const { store } = this.diagram;
    const last = this.steps.row.length - 1;
    this.slider.max = Math.max(0, last);
    if (this.at > last) this.at = -1;
    this.slider.value = this.at < 0 ? last : this.at;
    const here = this.at < 0 ? Infinity : this.row;
    const before = this.at > 0 ? this.steps.row.data[this.at - 1] + 1 : 0;
    const changed = new Set(this.at < 0 ? [] : store.changesIn(before, here).map(([actor, name]) => `${actor} ${name}`));
    const key = [store.version, this.at, this.open, this.inner.size].join();
    if (key === this._key) return;
    this._key = key;
    const ready = store.facts.ready ?? 0;
    const when = this.at < 0 ? `now, after ${count(last + 1)} steps` : `step ${count(this.at + 1)} of ${count(last + 1)}, at ${duration(this.time - ready)}`;
    this.happened.textContent = `${when}${this.at < 0 ? "" : `: ${this.diagram.rowWords(this.row)}`}`;
    this.slider.setAttribute("aria-valuetext", this.happened.textContent);
    const actors = store.stateAt(here);
    this.table.innerHTML = store.lanes.filter((party) => this.diagram.view.server || party > 0)
      .map((party) => this._line(party, actors.get(party) ?? new Map(), changed)).join("");
    this.host.querySelector(".cut").textContent = store.facts.cut ?? "";
  }

  _line(party, fields, changed) {
    const pills = [], links = new Map();
    let stored = 0, storing = false;
    const pill = (name, words) => pills.push(
      `<span class="pill${changed.has(`${party} ${name}`) ? " changed" : ""}">${escapeText(words)}</span>`);
    for (const name of PLAIN) {
      if (!fields.has(name)) continue;
      const [value] = fields.get(name);
      pill(name, name === "life" ? value : name === "leads" ? "leads" : `${name} ${value}`);
    }
    const words = { vote: "votes on", operation: "", history: "holds" };
    for (const [name, [value]] of fields) {
      const [, kind, rest] = /^(\S+) (.*)$/.exec(name) ?? [];
      if (!OUTER.test(name) || PLAIN.includes(name)) continue;
      if (kind === "link") links.set(value, [...(links.get(value) ?? []), rest]);
      else if (kind === "stored") { stored++; storing ||= changed.has(`${party} ${name}`); }
      else if (kind === "vote") pill(name, `${value} ${this.diagram.store.operation(rest)}`);
      else if (kind in words) pill(name, `${words[kind]} ${this.diagram.store.operation(rest)}: ${value}`.trim());
      else pill(name, `${name}: ${value}`);
    }
    for (const [state, ends] of links) {
      const is = ends.some((end) => changed.has(`${party} link ${end}`)) ? " changed" : "";
      pills.push(`<span class="pill quiet${is}">${state}: ${ends.join(", ")}</span>`);
    }
    if (stored) pills.push(`<span class="pill quiet${storing ? " changed" : ""}">${stored} stored</span>`);
    const folded = this.open !== party;
    const colour = this.diagram.picture.colour(party);
    return `<tr data-party="${party}" tabindex="0" aria-expanded="${!folded}" title="click for all that it holds">
      <th><span class="chip" style="background:${colour}">${party || "S"}</span></th>
      <td>${pills.join(" ") || '<span class="pill quiet">nothing yet</span>'}${folded ? "" : this._inside(party, fields, changed)}</td></tr>`;
  }

  // Everything that one party holds: machines, timers, disk.
  _inside(party, fields, changed) {
    const told = this.inner.get(this.at < 0 ? -1 : this.row);
    const lines = told
      ? Object.entries(told[party]?.now ?? {}).map(([name, value]) => [name, value, name in (told[party].changed ?? {})])
      : [...fields].filter(([name]) => !OUTER.test(name) || name.startsWith("stored "))
        .map(([name, [value]]) => [name, value, changed.has(`${party} ${name}`)]);
    if (!lines.length) {
      const asked = this.diagram.options.look ? "looking inside…" : "the trace tells no more; its machines were not recorded";
      return `<p class="inside">${asked}</p>`;
    }
    lines.sort((a, b) => b[2] - a[2]);
    return `<dl class="inside">${lines.map(([name, value, is]) =>
      `<dt${is ? ' class="changed"' : ""}>${escapeText(name)}</dt><dd${is ? ' class="changed"' : ""}>${escapeText(value)}</dd>`).join("")}</dl>`;
  }
}
