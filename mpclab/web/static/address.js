// What the address says after #: a link to a session, and in a tab of a party who it is.

const FIELDS = ["session", "party", "parties", "threshold", "policy", "agreement", "server", "tell", "code", "ticket"];

export function fromAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const fields = Object.fromEntries(FIELDS.filter((f) => given.has(f)).map((f) => [f, given.get(f)]));
  // To tell a lab is the wish of who sits here, in this tab or a cell of theirs; no link has it for them.
  if (!fields.server?.startsWith("frame:") && wished.session !== fields.session) delete fields.tell;
  return fields;
}

const wished = {
  get session() { try { return sessionStorage.getItem("mpclab tell"); } catch { return null; } },
  set session(id) { try { sessionStorage.setItem("mpclab tell", id); } catch { /* asked for again after a reload */ } },
};

export function toAddress(fields) {
  if (fields.tell) wished.session = fields.session;
  return `#${new URLSearchParams(FIELDS.filter((f) => fields[f]).map((f) => [f, fields[f]]))}`;
}

// The link that invites to a session; who we are in it stays here.
export function linkTo({ party, tell, code, ticket, ...rest }, more = {}) {
  return `${location.origin}${location.pathname}${toAddress({ ...rest, ...more })}`;
}

// Where the parties of a session meet: at the server of this page unless the fields say otherwise,
// which may stand behind a proxy that gave it a folder.
export function serverOf(fields) {
  const server = fields.server || new URL("./", location.href).href.replace(/^http/, "ws");
  // By the session in it a proxy chooses one of several servers.
  return /^wss?:[^?]*$/.test(server) && !server.includes("/s/") ? `${server.replace(/\/+$/, "")}/s/${fields.session}` : server;
}

// STUN and TURN servers, a line each: `stun:host`, or `turn:host user password`, and whether links
// go by TURN only. They are this browser's, for all its sessions.
export const ice = {
  get text() { try { return localStorage.getItem("mpclab ice") ?? ""; } catch { return ""; } },
  set text(value) { try { localStorage.setItem("mpclab ice", value); } catch { /* not kept */ } },
  get only() { try { return localStorage.getItem("mpclab turn only") === "yes"; } catch { return false; } },
  set only(yes) { try { localStorage.setItem("mpclab turn only", yes ? "yes" : ""); } catch { /* not kept */ } },
  get servers() {
    return this.text.split("\n").map((line) => line.trim().split(/\s+/)).filter(([url]) => url)
      .map(([urls, username, credential]) => (username ? { urls, username, credential } : { urls }));
  },
  // What is wrong with it; "": nothing.
  wrong(text, only) {
    if (only && !/^\s*turns?:/m.test(text)) return "links through TURN alone need a TURN server: write one, or take that choice back";
    for (const line of text.split("\n").map((one) => one.trim()).filter(Boolean)) {
      const [url, ...login] = line.split(/\s+/);
      if (!/^(stun|stuns|turn|turns):[A-Za-z0-9.:[\]-]+(\?transport=(udp|tcp))?$/.test(url)) return `${url}: write stun:HOST or turn:HOST`;
      if (login.length !== (url.startsWith("turn") ? 2 : 0)) return `${url}: ${url.startsWith("turn") ? "a user and a password follow" : "nothing follows"}`;
    }
    return "";
  },
};
