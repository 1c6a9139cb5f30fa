// What a person wants: an operation, and numbers of their own.

import { complain, field, h } from "./dom.js";

const FIRST = ["note", "dkg", "sign", "sum", "compare", "refresh"];

export function proposal(kinds, act) {
  const names = Object.keys(kinds.operations).sort((a, b) => {
    const [i, j] = [FIRST.indexOf(a), FIRST.indexOf(b)];
    return (i < 0 ? 99 : i) - (j < 0 ? 99 : j) || a.localeCompare(b);
  });
  const choice = h("select", { name: "kind", onchange: () => fill() }, names.map((name) => h("option", { value: name }, name)));
  const fields = h("div.fields");
  const rare = h("details", {}, h("summary", {}, "more"), h("div.fields"));
  const form = h("form", { onsubmit: async (event) => {
    event.preventDefault();
    const params = Object.fromEntries([...new FormData(form)].filter(([name]) => name.startsWith("param ")).map(([name, value]) => [name.slice(6), value]));
    const op = await act({ do: "propose", kind: choice.value, params });
    if (op) fill();
  } }, field("Operation", choice), fields, rare, h("div.row", {}, h("button.main", { type: "submit" }, "Propose")));
  const fill = () => {
    const all = kinds.operations[choice.value].parameters;
    const usual = all.filter((p) => p.default === null || p.kind === "reference" || all.length < 4);
    fields.replaceChildren(...usual.map(parameter));
    rare.lastChild.replaceChildren(...all.filter((p) => !usual.includes(p)).map(parameter));
    rare.hidden = usual.length === all.length;
  };
  fill();
  return form;
}

function parameter(p) {
  const name = `param ${p.name}`;
  const value = p.default === null ? "" : Array.isArray(p.default) ? p.default.join(", ") : String(p.default);
  const required = p.default === null;
  const input = p.choices.length ? h("select", { name }, p.choices.map((c) => h("option", { value: c, selected: c === value }, c || "—")))
    : p.kind === "number" ? h("input", { name, type: "number", value, required, inputmode: "numeric" })
    : p.kind === "reference" ? h("input", { name, value, required, list: "references", placeholder: required ? "" : "the newest" })
    : p.kind === "content" ? h("textarea", { name, rows: 2, required }, value)
    : h("input", { name, value, required });
  return field(p.name, input, p.help);
}

// Numbers of one's own: they leave this tab only as shares of a computation that all approved.
export function ownNumbers(page) {
  const input = h("input", { name: "numbers", inputmode: "decimal", autocomplete: "off" });
  const form = h("form", { onsubmit: async (event) => {
    event.preventDefault();
    await page.command({ do: "private", numbers: input.value }).then(() => { button.textContent = "Kept in this tab"; }, complain);
  } }, field("My own numbers", input, "for sum, compare, …; never sent as they are"));
  const button = h("button", { type: "submit" }, "Use them");
  form.append(h("div.row", {}, button));
  input.addEventListener("input", () => { button.textContent = "Use them"; });
  return h("details", {}, h("summary", {}, "numbers of my own"), form);
}
