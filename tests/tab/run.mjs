// Runs pytest inside Pyodide: node run.mjs SETTINGS, a JSON object with
//   modules   a node_modules folder     checkout  the project, mounted where Python sees it
//   wheels    files to install          site      a zip of pure packages
//   cache     a folder for bytecode     args      what pytest is given

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const settings = JSON.parse(process.argv[2]);
const from = (path) => import(pathToFileURL(path));
const bytes = (path) => new Uint8Array(readFileSync(path));

const { loadPyodide } = await from(`${settings.modules}/pyodide/pyodide.mjs`);
const { default: sodium } = await from(
  `${settings.modules}/libsodium-wrappers-sumo/dist/modules-sumo-esm/libsodium-wrappers.mjs`);
const { secp256k1 } = await from(`${settings.modules}/@noble/curves/secp256k1.js`);
const { ed25519 } = await from(`${settings.modules}/@noble/curves/ed25519.js`);
const { primitives } = await from(`${settings.checkout}/mpclab/crypto/backends/tab.mjs`);
await sodium.ready;

const say = (text) => process.stdout.write(`${text}\n`);
const python = await loadPyodide({ stdout: say, stderr: say });
python.registerJsModule("mpclab_primitives", primitives(sodium, secp256k1, ed25519));
const site = python.runPython("import site; site.getsitepackages()[0]");
for (const wheel of settings.wheels) {
  python.unpackArchive(bytes(wheel), "wheel", { extractDir: site });
}
python.unpackArchive(bytes(settings.site), "zip", { extractDir: site });
for (const [name, root] of [["checkout", settings.checkout], ["bytecode", settings.cache]]) {
  python.FS.mkdirTree(`/mounted/${name}`);
  python.FS.mount(python.FS.filesystems.NODEFS, { root }, `/mounted/${name}`);
}

let status = 70; // Python died
try {
  status = python.runPython(`
import os, sys
sys.pycache_prefix = "/mounted/bytecode"
sys.path.insert(0, "/mounted/checkout")
os.chdir("/mounted/checkout")
import json, pytest
int(pytest.main(json.loads(${JSON.stringify(JSON.stringify(settings.args))})))
`);
} catch (error) {
  say(`${error.message ?? error}`.slice(0, 4000));
}
process.exit(status);
