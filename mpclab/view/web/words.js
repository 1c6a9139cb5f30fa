// How things are said.

function who(party) { return party === 0 ? "server" : party < 0 ? "world" : `party ${party}`; }

function duration(us) {
  const size = Math.abs(us);
  if (size === 0) return "0 ms";
  if (size >= 10e6) return `${(us / 1e6).toFixed(2)} s`;
  if (size >= 1e6) return `${(us / 1e6).toFixed(3)} s`;
  return size >= 1e5 ? `${(us / 1000).toFixed(0)} ms` : `${(us / 1000).toFixed(size >= 1e4 ? 1 : 2)} ms`;
}

function niceStep(wanted) {
  const power = 10 ** Math.floor(Math.log10(wanted || 1));
  return [1, 2, 5, 10].map((k) => k * power).find((step) => step >= wanted) ?? power;
}

function count(number) { return number.toLocaleString("en"); }

function escapeText(text) {
  return String(text).replace(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c]);
}
