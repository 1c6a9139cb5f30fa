// Elements, and the words that appear and go.

export const $ = (id) => document.getElementById(id);

// An element. Text goes in as text, whoever wrote it.
export function h(tag, more = {}, ...inside) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(more)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "colour") element.style.background = value;
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...inside.flat().filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

export function field(label, input, help) {
  return h("label", {}, label, input, help ? h("small", {}, help) : null);
}

export function card(title, ...inside) {
  return h("section.card", { "aria-label": title }, h("h2", {}, title), ...inside);
}

let forgetting = 0;

export function complain(error, stays = false) {
  $("said").textContent = error.message ?? String(error);
  clearTimeout(forgetting);
  if (!stays) forgetting = setTimeout(() => { $("said").textContent = ""; }, 9000);
}

// A button that copies a text, and says so.
export function copying(label, text) {
  return h("button", { type: "button", onclick: async ({ target }) => {
    await navigator.clipboard?.writeText(typeof text === "function" ? text() : text).catch(() => {});
    target.textContent = "Copied";
  } }, label);
}

export function saveFile(name, data) {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const url = URL.createObjectURL(new Blob([bytes]));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
