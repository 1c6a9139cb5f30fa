// A tab as the server: started from the first screen or in a session, with its sessions, and
// invitations for other browsers.

import { complain, copying, field, h } from "./dom.js";
import { ice, linkTo } from "./address.js";
import { picture, scanning } from "./codes.js";
import { randomId } from "./start.js";

const invitations = h("div");

export function served(app) {
  const { serving, joined, server } = app.state;
  if (!serving) {
    // In a session whose server is gone the mesh lives on, and any tab may be the next one.
    if (app.place && (joined || !server?.startsWith("tab:"))) return [];
    const name = app.place ? server.slice(4) : randomId();
    return [
      app.place ? null : h("p.soft", {}, "This tab can be the server where parties meet: other tabs of this browser at once, other browsers by a code."),
      h("div.row", {}, h("button.main", { type: "button", onclick: () => app.page.serve(name).catch(complain) }, app.place ? "Start server in this tab" : "Start server")),
    ];
  }
  return [
    h("h3", {}, "🟢 This tab is the server"),
    h("p.soft", {}, `${serving.connections} connections, ${serving.relayed} messages passed on`),
    serving.sessions.length ? h("ul.plain.sessions", {}, serving.sessions.map((s) => h("li", {}, h("code", {}, s.session), ` ${Object.keys(s.members).length} of ${s.n}`)))
      : h("p.soft", {}, "No session yet."),
    h("div.row", {},
      h("button", { type: "button", onclick: () => invite(app) }, "Invite another browser"),
      h("button", { type: "button", onclick: () => { invitations.replaceChildren(); app.act({ do: "stop-serving" }); } }, "Stop server")),
    invitations,
  ];
}

// One exchange: our code goes there, theirs comes back.
async function invite(app) {
  const listener = app.page.listener;
  if (listener === null) return;
  const wire = listener.invite(ice.servers, () => {
    if (wire.isOpen) invitations.replaceChildren(h("p.good", { role: "status" }, "Another browser is connected."));
    else if (wire.over) invitations.replaceChildren(h("p.warn", {}, "The connection to another browser was lost."));
  });
  try {
    const code = await wire.offered();
    const link = linkTo(app.place ?? {}, { code, server: "" });
    const answer = h("textarea", { name: "answer", rows: 3, required: true, spellcheck: "false" });
    const form = h("form", { onsubmit: async (event) => {
      event.preventDefault();
      await wire.take(answer.value.trim()).catch(complain);
    } }, field("Their answer", answer, "what their browser shows once it has opened the link"),
    h("div.row", {}, h("button.main", { type: "submit" }, "Connect"),
      scanning((text) => { answer.value = text; form.requestSubmit(); })));
    invitations.replaceChildren(
      h("p", {}, "Send them this link, or let them scan it. It is for one browser, once."),
      picture(link), h("p", {}, h("code.invitation", {}, link)), h("div.row", {}, copying("Copy the link", link)), form);
  } catch (error) { complain(error); }
}
