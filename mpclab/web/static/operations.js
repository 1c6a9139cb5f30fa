// One operation as a person sees it: what will be executed, who voted, what came of it.

import { complain, h, saveFile } from "./dom.js";

const status = {
  executed: ["done", "good"], committed: ["agreed", "good"], open: ["open", ""], expired: ["not decided in time", "warn"],
  aborted: ["rejected", "bad"], failed: ["failed", "bad"],
};

export const chip = (state, party) => h("span.chip", { colour: state.people?.[party - 1]?.colour ?? "#777", title: `party ${party}` }, String(party));

export function operation(o, { state, act }) {
  const [word, mood] = status[o.status] ?? [o.status, ""];
  const mine = o.mine === null && o.status === "open";
  const params = o.params.filter(([, value]) => value !== "" && value.length !== 0);
  return h(mine ? "li.op.mine-to-vote" : "li.op", { "data-op": o.op },
    h("h3", {}, chip(state, o.by), o.text, h(`span.badge.${mood || "soft"}`, {}, word)),
    h("details", { open: mine }, h("summary", {}, "exactly what will be executed"),
      h("dl", {}, h("dt", {}, "operation"), h("dd", {}, h("code", {}, o.kind)),
        params.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, h("code", {}, Array.isArray(value) ? value.join(", ") : String(value)))]),
        h("dt", {}, "proposal"), h("dd", {}, h("code", {}, o.op)))),
    h("div.votes", {}, o.votes.map((v) => h("span", { title: v.reason }, chip(state, v.party), h(v.approve ? "span.good" : "span.bad", {}, v.approve ? "✓ approves" : "✗ rejects"))),
      o.status === "open" && o.waiting_for.length ? h("span.soft", {}, `waits for ${o.waiting_for.join(", ")}`) : null),
    o.reason ? h("p.soft", {}, o.reason) : null,
    o.result ? h("p.mono", {}, o.result) : null,
    o.facts.length ? h("dl", {}, o.facts.flatMap(([name, value]) => [h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, h("code", {}, String(value)))])) : null,
    o.kind === "sign" && o.status === "executed" ? saving(o, act) : null,
    mine ? h("div.row.votable", {},
      h("button.yes", { type: "button", onclick: () => act({ do: "vote", op: o.op, approve: true }) }, "Approve"),
      h("button.no", { type: "button", onclick: () => act({ do: "vote", op: o.op, approve: false, reason: "rejected by hand" }) }, "Reject")) : null);
}

function saving(o, act) {
  const signature = o.facts.find(([name]) => name === "signature")?.[1];
  return h("div.row", {},
    signature ? h("button", { type: "button", onclick: (event) => {
      navigator.clipboard?.writeText(signature).then(() => { event.target.textContent = "Copied"; }, complain);
    } }, "Copy the signature") : null,
    h("button", { type: "button", onclick: () => save(o.op, act) }, "Save signature and key"));
}

async function save(op, act) {
  const files = await act({ do: "files", op });
  for (const [name, data] of Object.entries(files ?? {})) saveFile(name, data);
}
