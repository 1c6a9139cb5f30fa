"""`Keys`: what the keyboard does on a panel."""

import anywidget


class Keys(anywidget.AnyWidget):
    """Keeps letters typed on a panel from being a notebook's commands, and has Ctrl+K (⌘K) go to
    the command line. Takes no room."""

    _esm = """
    export default { render({ el }) {
      let inside = false; // whether the last click was on this panel
      const off = new AbortController();
      const press = (event) => { inside = Boolean(el.closest(".mpclab")?.contains(event.target)); };
      const key = (event) => {
        const root = el.closest(".mpclab");
        const modified = event.ctrlKey || event.metaKey || event.altKey;
        if (event.key === "Escape") inside = false;
        if (!root || (!inside && !root.contains(event.target))) return;
        const line = root.querySelector(".mpclab-command input");
        if (line && event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) {
          event.preventDefault();
          event.stopImmediatePropagation();
          line.focus();
          line.select();
        } else if (!modified && /^[^ ]$/.test(event.key)
            && !event.target.closest(
              "input, textarea, select, [contenteditable], .mpclab-diagram")) {
          // Also outside of the panel: a button that was just disabled loses the focus to the page.
          event.stopImmediatePropagation();
        }
      };
      const listen = { capture: true, signal: off.signal };
      window.addEventListener("pointerdown", press, listen);
      window.addEventListener("keydown", key, listen);
      const mark = () => {
        const root = el.closest(".mpclab");
        if (root) root.setAttribute("data-lm-suppress-shortcuts", "true");
        else if (!off.signal.aborted) requestAnimationFrame(mark);
      };
      mark();
      return () => off.abort();
    } };
    """
