// Where the diagram lives: in a page that opens from disk, or in a notebook.

// Show chunks (base64) in `host`.
export function mount(host, chunks, options = {}) {
  const store = new Store();
  for (const chunk of chunks) store.append(Uint8Array.from(atob(chunk), (c) => c.charCodeAt(0)));
  return new Diagram(host, store, options);
}

// Show in `host` what is appended, chunk by chunk.
export function live(host) {
  const store = new Store();
  const diagram = new Diagram(host, store, { latest: true });
  return { append(chunk) { store.append(chunk); diagram.redraw(); } };
}

// In a notebook the kernel sends what is new as it comes, and all of it when asked. What came is
// kept in the trait `whole` of this side alone, which a notebook saves: without a kernel it is there.
// Called once for each model; its views share one store.
export default () => {
  const views = new Set();
  let store = new Store(), came = [], next = null, keeping = 0;
  const begin = () => {
    came = [];
    store = new Store();
    for (const view of views) view.show();
  };
  const keep = (model) => {
    keeping = 0;
    model.set("whole", joined(came));
  };
  const hear = (model, message, buffers) => {
    if (message.type === "looked") {
      for (const { diagram } of views) diagram.scrubber.found(message.row, message.parties);
      return;
    }
    if (message.type !== "chunk") return;
    if (message.number === 0) begin();
    else if (message.number !== next) { model.send({ type: "again" }); return; }
    next = message.number + 1;
    for (const chunk of buffers) { came.push(chunk); store.append(chunk); }
    for (const view of views) view.diagram.redraw();
    if (!keeping) keeping = setTimeout(keep, 2000, model);
  };
  return {
    initialize({ model }) {
      for (const chunk of split(model.get("whole"))) store.append(chunk);
      model.on("msg:custom", (message, buffers) => hear(model, message, buffers));
      model.on("change:witnesses", () => {
        for (const { diagram } of views) {
          diagram.view.witnesses = new Set(model.get("witnesses"));
          diagram.redraw();
        }
      });
      model.on("change:able", () => { for (const { diagram } of views) diagram.redraw(); });
      model.send({ type: "again" });
    },
    render({ model, el }) {
      const onChoose = (row) => model.send({ type: "chosen", row });
      const look = (row) => model.send({ type: "look", row });
      const act = (deed) => model.send({ type: "act", deed });
      const able = () => model.get("able");
      const view = {
        show() {
          const options = { latest: true, rows: model.get("witnesses"), onChoose, look, act, able };
          this.diagram = el.diagram = new Diagram(el, store, options);
        },
      };
      view.show();
      views.add(view);
      return () => views.delete(view);
    },
  };
};

// Chunks, each behind its length.
function joined(chunks) {
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + 4 + chunk.byteLength, 0));
  let place = 0;
  for (const chunk of chunks) {
    new DataView(whole.buffer).setUint32(place, chunk.byteLength, true);
    whole.set(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength), place + 4);
    place += 4 + chunk.byteLength;
  }
  return new DataView(whole.buffer);
}

function* split(whole) {
  for (let place = 0; whole && place + 4 <= whole.byteLength;) {
    const size = whole.getUint32(place, true);
    yield new DataView(whole.buffer, whole.byteOffset + place + 4, size);
    place += 4 + size;
  }
}
