// Have a tab's own Python compile what tabs will import: node inside.mjs SETTINGS, a JSON object
// with the files modules (node_modules), primitives, wheel, inside (inside.py), library, ours and
// target, the folder for the two zips.

import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { modules, primitives: bridge, wheel, inside, library, ours, target } = JSON.parse(process.argv[2]);
const from = (path) => import(pathToFileURL(path));
const bytes = (path) => new Uint8Array(readFileSync(path));

const { loadPyodide } = await from(`${modules}/pyodide/pyodide.mjs`);
const { default: sodium } = await from(
  `${modules}/libsodium-wrappers-sumo/dist/modules-sumo-esm/libsodium-wrappers.mjs`);
const { secp256k1 } = await from(`${modules}/@noble/curves/secp256k1.js`);
const { ed25519 } = await from(`${modules}/@noble/curves/ed25519.js`);
const { primitives } = await from(bridge);
await sodium.ready;

// Tracebacks name files and lines. Columns point into a source's text, and a tab has none.
const python = await loadPyodide({ env: { PYTHONNODEBUGRANGES: "1" } });
python.registerJsModule("mpclab_primitives", primitives(sodium, secp256k1, ed25519));
python.registerJsModule("mpclab_page", { perform() {}, wakeIn() {} });
python.unpackArchive(bytes(wheel), "wheel", { extractDir: "/lib/python3.14/site-packages" });
for (const [name, path] of [["library.zip", library], ["ours.zip", ours], ["inside.py", inside]]) {
  python.FS.writeFile(`/tmp/${name}`, bytes(path));
}
python.runPython(`
import sys
sys.path.append("/tmp/ours.zip")
from mpclab.web.tab import Tab
from mpclab.worlds.browser.bridge import WorkerPage
from mpclab.web.simulated import Simulation
Tab(WorkerPage()).command('{"do":"kinds"}')
Simulation(WorkerPage()).command('{"do":"begin","parties":"3","threshold":"2"}')
before = dict(sys.modules)
sys.path.append("/tmp")
import inside
for name in set(sys.modules) - set(before):
    if name != "inside":
        del sys.modules[name]
inside.library("/tmp/library.zip", "/tmp/python_stdlib.zip", "/tmp/ours.zip")
inside.ours("/tmp/ours.zip", "/tmp/mpclab.zip")
`);
for (const name of ["python_stdlib.zip", "mpclab.zip"]) {
  writeFileSync(`${target}/${name}`, python.FS.readFile(`/tmp/${name}`));
}
