// One start of a tab's Python under Node, and what it took: node tabs.mjs PAGES|MODULES bare|ours|work
// PAGES is the folder of the pages, MODULES npm's; work: `tests/web/pages.py` is run in it, too.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [home, what, program] = process.argv.slice(2);
const from = (path) => import(pathToFileURL(path));
const bytes = (path) => new Uint8Array(readFileSync(path));
const milliseconds = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1000; };

if (what === "bare") {
  const began = milliseconds();
  const { loadPyodide } = await from(`${home}/pyodide/pyodide.mjs`);
  await loadPyodide();
  console.log(JSON.stringify({ cpu: milliseconds() - began }));
} else {
  const began = milliseconds();
  const { loadPyodide } = await from(`${home}/pyodide/pyodide.mjs`);
  const { default: sodium } = await from(`${home}/libsodium-wrappers.mjs`);
  const { secp256k1 } = await from(`${home}/noble/curves/secp256k1.js`);
  const { ed25519 } = await from(`${home}/noble/curves/ed25519.js`);
  const { primitives } = await from(`${home}/primitives.mjs`);
  await sodium.ready;
  const python = await loadPyodide({ indexURL: `${home}/pyodide/`, stdLibURL: `${home}/pyodide/python_stdlib.zip` });
  python.registerJsModule("mpclab_primitives", primitives(sodium, secp256k1, ed25519));
  python.registerJsModule("mpclab_page", { perform() {}, wakeIn() {} });
  python.unpackArchive(bytes(`${home}/msgspec.whl`), "wheel", { extractDir: "/lib/python3.14/site-packages" });
  python.FS.writeFile("/lib/mpclab.zip", bytes(`${home}/mpclab.zip`));
  python.runPython(`
import sys
sys.path.append("/lib/mpclab.zip")
from mpclab.web.tab import Tab
from mpclab.worlds.browser.bridge import WorkerPage
Tab(WorkerPage()).command('{"do":"kinds"}')
`);
  const cpu = milliseconds() - began;
  if (what === "ours") console.log(JSON.stringify({ cpu }));
  else {
    python.FS.mkdirTree("/lib/tests/web");
    python.FS.writeFile("/lib/tests/__init__.py", "");
    python.FS.writeFile("/lib/tests/web/__init__.py", "");
    python.FS.writeFile("/lib/tests/web/pages.py", bytes(program));
    console.log(python.runPython(`
import sys, time
sys.path.append("/lib")
from tests.web.pages import Browser, FakePage
spent, told, woken = {}, FakePage.told, FakePage.wake_in
def measured(page, act, *args):
    began = time.perf_counter()
    try:
        return act(*args)
    finally:
        spent[page] = spent.get(page, 0.0) + time.perf_counter() - began
FakePage.told = lambda page, *event: measured(page, told, page, *event)
FakePage.wake_in = lambda page, ms, act: woken(page, ms, lambda: measured(page, act))
browser = Browser()
tabs = [browser.tab() for _ in range(5)]
tabs[0].do("serve", name="here")
for party, tab in enumerate(tabs, 1):
    tab.start("s", party, 5, url="tab:here", threshold=3, policy="threshold(3)", agreement="direct")
linked = lambda tab: [p["via"] for p in tab.state.get("people", [])].count("link") == 4
browser.run(lambda: all(map(linked, tabs)))
shown = {}
def agree(kind, **params):
    spent.clear()
    op = tabs[0].do("propose", kind=kind, params=params)
    for tab in tabs:
        browser.run(lambda: tab.operation(kind).get("op") == op)
        if tab.operation(kind)["mine"] is None and tab.operation(kind)["status"] == "open":
            measured(tab, lambda: tab.do("vote", op=op, approve=True))
    browser.run(lambda: all(t.operation(kind).get("op") == op and t.operation(kind)["status"] == "executed" for t in tabs))
    shown.setdefault(kind, []).append(round(1000 * max(spent.values()), 1))
for _ in range(4):
    agree("dkg")
for i in range(4):
    agree("sign", message=f"m{i}")
import json
json.dumps(shown)
`));
  }
}
