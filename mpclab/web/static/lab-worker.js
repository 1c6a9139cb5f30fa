// The worker of a simulated lab: Python, which answers one command after another.

import { begun } from "./python.js";

const bridge = {
  perform(verb, link, text, data) { postMessage({ verb, text, data: data ?? null }); },
  wakeIn() {}, // nothing here happens by itself
};
const simulation = begun(bridge, "mpclab.web.simulated", "Simulation");

onmessage = async ({ data: { id, command } }) => {
  try {
    const { ok, error } = JSON.parse((await simulation).command(JSON.stringify(command)));
    postMessage(error === undefined ? { id, ok } : { id, error });
  } catch (error) {
    postMessage({ id, error: `${error.message ?? error}`.slice(-2000), over: true });
  }
};
