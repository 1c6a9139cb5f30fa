// What one may ask of a run: which messages fit a text, and what led to one.

// `kind:Prepare party:2-4 from:1 to:3 lost relayed path:agreement op:k3 "two words"`: a predicate
// over messages, or an error to show. What has no colon is looked for in what the message says.
function parseFilter(text, store) {
  const tests = [], parties = [];
  const terms = text.match(/(?:[^\s"]+:)?"[^"]*"|\S+/g) ?? [];
  for (const term of terms) {
    const [, key, raw] = /^([a-z]+):(.*)$/i.exec(term) ?? [null, "", term];
    const wanted = raw.replace(/^"|"$/g, "").toLowerCase();
    const has = (word) => store.words[word].toLowerCase().includes(wanted);
    if (key === "" && wanted === "lost") tests.push((i) => store.fate.data[i] === DROPPED);
    else if (key === "" && wanted === "relayed") tests.push((i) => store.via.data[i] === RELAY);
    else if (key === "" && wanted === "flying") tests.push((i) => store.fate.data[i] === FLYING);
    else if (key === "") tests.push((i) => has(store.text.data[i]) || has(store.kind.data[i]));
    else if (key === "kind") tests.push((i) => store.words[store.kind.data[i]].toLowerCase().startsWith(wanted));
    else if (key === "path") tests.push((i) => has(store.path.data[i]));
    else if (key === "op") tests.push((i) => has(store.text.data[i]) || has(store.path.data[i]));
    else if (key === "party" || key === "from" || key === "to") {
      const range = parseParties(wanted);
      if (range === null) return { error: `${term}: write ${key}:2, ${key}:1,3 or ${key}:2-4` };
      if (key === "from") tests.push((i) => range(store.sender.data[i]));
      else if (key === "to") tests.push((i) => range(store.receiver.data[i]));
      else {
        parties.push(range);
        tests.push((i) => range(store.sender.data[i]) || range(store.receiver.data[i]));
      }
    } else return { error: `${key}: is not known; use kind, party, from, to, path, op, lost, relayed` };
  }
  return {
    error: "",
    text,
    message: (i) => tests.every((test) => test(i)),
    party: (p) => parties.every((range) => range(p)),
  };
}

function parseParties(text) {
  const ranges = [];
  for (const piece of text.split(",")) {
    const found = /^(\d+|server)(?:-(\d+))?$/.exec(piece);
    if (!found) return null;
    const low = found[1] === "server" ? 0 : Number(found[1]);
    ranges.push([low, found[2] === undefined ? low : Number(found[2])]);
  }
  return (p) => ranges.some(([low, high]) => p >= low && p <= high);
}

// The causal past (or future) of message `chosen`: all that could have influenced it, or that it
// may have influenced (Lamport 1978). One pass over the arrivals in the order of time.
function cone(store, chosen, future) {
  const { at, ended, sender, receiver, fate } = store;
  const order = [];
  for (let i = 0; i < store.messages; i++) if (fate.data[i] === DELIVERED) order.push(i);
  const inside = new Set([chosen]);
  const edge = new Map();
  if (future) {
    if (fate.data[chosen] !== DELIVERED) return inside;
    order.sort((a, b) => at.data[a] - at.data[b]);
    edge.set(receiver.data[chosen], ended.data[chosen]);
    // An arrival may reach back in the order of sending, so go on until nothing is added.
    for (let changed = true; changed;) {
      changed = false;
      for (const i of order) {
        if (inside.has(i) || !(at.data[i] >= (edge.get(sender.data[i]) ?? Infinity))) continue;
        inside.add(i);
        if (ended.data[i] < (edge.get(receiver.data[i]) ?? Infinity)) {
          edge.set(receiver.data[i], ended.data[i]);
          changed = true;
        }
      }
    }
    return inside;
  }
  order.sort((a, b) => ended.data[b] - ended.data[a]);
  edge.set(sender.data[chosen], at.data[chosen]);
  for (const i of order) {
    if (!(ended.data[i] <= (edge.get(receiver.data[i]) ?? -1))) continue;
    inside.add(i);
    edge.set(sender.data[i], Math.max(edge.get(sender.data[i]) ?? -1, at.data[i]));
  }
  return inside;
}
