// QR codes: drawn, and read by the camera where there is one.

import { complain, h } from "./dom.js";

const QUIET = 3; // modules of white around it
const SVG = "http://www.w3.org/2000/svg";

// A text as a QR code; it appears as soon as its library is here.
export function picture(text) {
  const place = h("div.qr", { role: "img", "aria-label": "a QR code of the same text" });
  import("./qr/index.js").then(({ encodeQR }) => {
    const rows = encodeQR(text, "raw", { ecc: "low", border: QUIET });
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${rows.length} ${rows.length}`);
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", rows.map((row, y) => row.map((on, x) => (on ? `M${x} ${y}h1v1h-1z` : "")).join("")).join(""));
    svg.append(path);
    place.append(svg);
  }, complain);
  return place;
}

// A button that reads a code with the camera.
export function scanning(found) {
  if (!navigator.mediaDevices?.getUserMedia) return null;
  const video = h("video", { playsinline: true, muted: true, hidden: true });
  const button = h("button", { type: "button", onclick: async () => {
    try {
      const { decodeQR } = await import("./qr/decode.js");
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      video.srcObject = stream;
      video.hidden = false;
      await video.play();
      const canvas = document.createElement("canvas");
      const look = () => {
        if (!video.isConnected) { end(); return; }
        [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.drawImage(video, 0, 0);
        let text = "";
        try { text = decodeQR(context.getImageData(0, 0, canvas.width, canvas.height)); } catch { /* none in view */ }
        if (text) { end(); found(text); } else setTimeout(look, 120);
      };
      const end = () => { for (const track of stream.getTracks()) track.stop(); video.hidden = true; };
      look();
    } catch (error) { complain(error); }
  } }, "Scan it");
  return [button, video];
}
