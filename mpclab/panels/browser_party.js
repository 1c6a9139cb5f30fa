// A party in this very browser, beside those of the notebook's kernel: the page of a tab in a frame.
// What it says to the signaling server goes over the widget's comm, wherever the kernel runs.

function extensions() {
  const config = document.getElementById("jupyter-config-data");
  const known = config ? JSON.parse(config.textContent) : {};
  return (known.fullLabextensionsUrl ?? `${known.baseUrl ?? "/"}lab/extensions`).replace(/\/$/, "");
}

function render({ model, el }) {
  const view = crypto.getRandomValues(new Uint32Array(3)).join("-");
  const frame = document.createElement("iframe");
  frame.className = "mpclab-browser-party";
  frame.title = "a party in this browser";
  frame.allow = "clipboard-write; camera";
  Object.assign(frame.style, { width: "100%", height: `${model.get("height")}px`, border: "1px solid #8884", borderRadius: "10px" });
  let port = null;
  const greet = ({ source, data }) => {
    if (source !== frame.contentWindow || data !== "mpclab tab") return;
    port?.close();
    model.send({ view, what: "gone" });
    const channel = new MessageChannel();
    port = channel.port1;
    port.onmessage = ({ data: { link, what, text } }) => model.send({ view, link, what, text: text ?? "" });
    frame.contentWindow.postMessage("mpclab notebook", location.origin, [channel.port2]);
  };
  const hear = (message) => {
    if (message?.view === view) port?.postMessage({ link: message.link, what: message.what, text: message.text });
  };
  addEventListener("message", greet);
  model.on("msg:custom", hear);
  frame.src = `${extensions()}/${model.get("place")}/index.html${model.get("address")}`;
  el.replaceChildren(frame);
  return () => {
    removeEventListener("message", greet);
    model.off("msg:custom", hear);
    model.send({ view, what: "gone" });
    port?.close();
  };
}

export default { render };
