// Python in a worker, with what it needs of others: the wheel, the crypto libraries, and us.

import { loadPyodide } from "./pyodide/pyodide.mjs";
import sodium from "./libsodium-wrappers.mjs";
import { secp256k1 } from "./noble/curves/secp256k1.js";
import { ed25519 } from "./noble/curves/ed25519.js";
import { primitives } from "./primitives.mjs";

export { sodium };

async function fetched(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  return response.arrayBuffer();
}

// An object of ours, made from the page that `bridge` is (mpclab/worlds/browser/page.py).
export async function begun(bridge, module, name) {
  const files = Promise.all([fetched("./msgspec.whl"), fetched("./mpclab.zip")]);
  await sodium.ready;
  const python = await loadPyodide({
    indexURL: new URL("./pyodide/", import.meta.url).href,
    stdLibURL: new URL("./pyodide/python_stdlib.zip", import.meta.url).href,
  });
  python.registerJsModule("mpclab_primitives", primitives(sodium, secp256k1, ed25519));
  python.registerJsModule("mpclab_page", bridge);
  const [wheel, rooms] = await files;
  python.unpackArchive(wheel, "wheel", { extractDir: "/lib/python3.14/site-packages" });
  python.FS.writeFile("/lib/mpclab.zip", new Uint8Array(rooms));
  return python.runPython(`
import sys
sys.path.append("/lib/mpclab.zip")
from ${module} import ${name}
from mpclab.worlds.browser.bridge import WorkerPage
${name}(WorkerPage())
`);
}
