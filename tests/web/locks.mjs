// Two pages of one browser that would serve one name: node locks.mjs STATIC

import { pathToFileURL } from "node:url";

const held = new Set(); // as in the Web Locks API: a lock goes when its callback's promise ends
const locks = {
  async request(name, { ifAvailable }, act) {
    await null;
    if (!ifAvailable) throw new Error("nobody waits here");
    if (held.has(name)) return act(null);
    held.add(name);
    try { return await act({ name }); } finally { held.delete(name); }
  },
};
Object.defineProperty(globalThis, "navigator", { value: { locks } });
globalThis.addEventListener = () => {};
globalThis.setInterval = () => 0;
globalThis.BroadcastChannel = class { postMessage() {} close() {} };
globalThis.Worker = class {
  // A server in a tab, as mpclab/worlds/browser/world.py has it.
  postMessage({ id, command }) {
    queueMicrotask(() => {
      if (command.name === "bad") this.onmessage({ data: { answer: id, error: "no" } });
      else this.onmessage({ data: { answer: id, ok: command.name } });
    });
  }
  terminate() {}
};
const { Page } = await import(pathToFileURL(`${process.argv[2]}/page.js`));
const page = () => new Page({ show() {}, flow() {}, died() {} });
const [one, two] = [page(), page()];
const told = [];
const serve = (who, name) => who.serve(name).then((ok) => `ok ${ok}`, (error) => error.message);
const settled = () => new Promise((resolve) => setTimeout(resolve, 0));

told.push(await Promise.all([serve(one, "x"), serve(two, "x")])); // at once
told.push(await serve(one, "x")); // pressed again: it goes on
told.push(await serve(two, "x"));
one.perform("hush", 0);
await settled();
told.push(await serve(two, "x"));
two.crash();
await settled();
told.push([await serve(one, "bad"), await serve(one, "x")], [...held]);
process.stdout.write(JSON.stringify(told), () => process.exit(0));
