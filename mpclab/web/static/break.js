// What can go wrong in a tab, on purpose: faults of its links, and of the party itself.

import { card, field, h } from "./dom.js";

const FAULTS = [
  ["loss", "messages are lost", (p) => ({ kind: "loss", rate: 0.5, from: [p] })],
  ["hold", "messages are held up, and come later", (p) => ({ kind: "hold", from: [p] })],
  ["corrupt", "messages are altered on the way", (p) => ({ kind: "corrupt", rate: 0.3, from: [p] })],
  ["pause", "this party does nothing", (p) => ({ kind: "pause", party: p })],
  ["crash", "this party stops at once, and starts again from what it stored", null],
];

export function breaking(app) {
  const kind = h("select", { name: "fault" }, FAULTS.map(([name, text]) => h("option", { value: name }, `${name}: ${text}`)));
  const seconds = h("input", { name: "seconds", type: "number", min: 0.2, max: 600, step: "any", value: 5 });
  const form = h("form", { onsubmit: (event) => {
    event.preventDefault();
    const [, , fields] = FAULTS.find(([name]) => name === kind.value);
    if (fields === null) app.crash(Number(seconds.value) * 1000);
    else app.act({ do: "fault", fields: { ...fields(app.state.me), for: `${Math.round(Number(seconds.value) * 1000)}ms` } });
  } }, field("What", kind), field("Seconds", seconds), h("div.row", {}, h("button.no", { type: "submit" }, "Break it")));
  const broken = card("Break something", h("details", {}, h("summary", {}, "faults of this tab"), form));
  return broken;
}
