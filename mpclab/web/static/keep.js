// A party's store as a file under a passphrase: to move to another browser, or to have it twice.

import { complain, field, h, saveFile } from "./dom.js";

export function keeping(app) {
  const passphrase = h("input", { name: "seals", type: "password", required: true, minlength: 8, autocomplete: "off" });
  const form = h("form", { onsubmit: async (event) => {
    event.preventDefault();
    try {
      const data = await app.page.command({ do: "export", passphrase: passphrase.value });
      saveFile(`${app.place.session}-${app.place.party}.mpclab`, data);
      passphrase.value = "";
    } catch (error) { complain(error); }
  } }, field("Passphrase", passphrase, "at least 8 characters; the file opens with it and is your key and all your shares"),
  h("div.row", {}, h("button", { type: "submit" }, "Export this party")));
  return h("details", {}, h("summary", {}, "export this party"), form);
}
