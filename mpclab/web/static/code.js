// Invitation codes: a description of a connection in so few characters that it fits into a link, a
// QR code or a message. What is left out is the same in all descriptions of a data channel.

const KINDS = ["host", "srflx", "prflx", "relay"];
const MOST = 4000; // characters of a code that we look at
const WORD = /^[A-Za-z0-9+/]{4,256}$/; // ice-char, RFC 8839 §5.4
const PLACE = /^[0-9A-Za-z.:-]{1,64}$/; // an address or a name
const FINGERPRINT = /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/;

const found = (sdp, name) => new RegExp(`^a=${name}:(.*)$`, "m").exec(sdp)?.[1].trim() ?? "";

// The code of a complete description.
export function packed(kind, sdp) {
  const candidates = [...sdp.matchAll(/^a=candidate:(\S+) 1 udp (\d+) (\S+) (\d+) typ (\S+)/gmi)]
    .map(([, , priority, address, port, type]) => [address, Number(port), KINDS.indexOf(type), Number(priority)]);
  const what = [1, kind === "offer" ? 0 : 1, found(sdp, "ice-ufrag"), found(sdp, "ice-pwd"),
    found(sdp, "fingerprint").replace(/^sha-256 /i, ""), candidates];
  return btoa(JSON.stringify(what)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

// The description that a code stands for; it comes from somebody else, so everything is checked.
export function unpacked(code, wanted) {
  const wrong = new Error("this is no such code: copy all of it, and nothing else");
  let what;
  try {
    if (code.length > MOST) throw wrong;
    what = JSON.parse(atob(code.trim().replaceAll("-", "+").replaceAll("_", "/")));
  } catch { throw wrong; }
  if (!Array.isArray(what) || what.length !== 6 || what[0] !== 1) throw wrong;
  const [, kind, ufrag, password, fingerprint, candidates] = what;
  if (kind !== (wanted === "offer" ? 0 : 1)) {
    throw new Error(wanted === "offer" ? "this is an answer, not an invitation" : "this is an invitation, not an answer");
  }
  const fits = WORD.test(ufrag) && WORD.test(password) && FINGERPRINT.test(fingerprint)
    && Array.isArray(candidates) && candidates.length <= 16;
  if (!fits) throw wrong;
  const lines = candidates.map((one, i) => {
    const [address, port, type, priority] = Array.isArray(one) ? one : [];
    const whole = [port, type, priority].every((n) => Number.isInteger(n) && n >= 0 && n < 2 ** 32);
    if (!whole || !PLACE.test(address) || port > 65535 || KINDS[type] === undefined) throw wrong;
    const from = type ? " raddr 0.0.0.0 rport 0" : "";
    return `a=candidate:${i + 1} 1 udp ${priority} ${address} ${port} typ ${KINDS[type]}${from}`;
  });
  return [
    "v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0",
    `a=ice-ufrag:${ufrag}`, `a=ice-pwd:${password}`, `a=fingerprint:sha-256 ${fingerprint}`,
    `a=setup:${wanted === "offer" ? "actpass" : "active"}`, "a=mid:0", "a=sctp-port:5000",
    "a=max-message-size:262144", ...lines, "",
  ].join("\r\n");
}
