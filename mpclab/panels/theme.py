"""How panels look: one stylesheet, and the few pieces of HTML that all of them share.

Colours come from JupyterLab's own variables, so that panels follow its theme, light or dark;
parties have the colours that they have in the pictures (`plots/style.py`).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from mpclab.core.ids import SERVER, Party
from mpclab.plots import style

GOOD, BAD, WARN, QUIET = "good", "bad", "warn", "quiet"
"""The meanings of a badge's colour, besides its words."""

STYLESHEET: Final = """
<style>
.mpclab { font-family: var(--jp-ui-font-family); font-size: 13px; line-height: 1.45;
  color: var(--jp-ui-font-color1); --mpc-good: #1a7f4b; --mpc-bad: #c92a2a; --mpc-warn: #a96300;
  --mpc-soft: var(--jp-layout-color2); --mpc-line: var(--jp-border-color2); }
[data-jp-theme-light="false"] .mpclab { --mpc-good: #5fd39a; --mpc-bad: #ff8a80;
  --mpc-warn: #ffb84d; }
.mpclab .widget-box, .mpclab.widget-box { overflow: visible; }
.mpclab .widget-html, .mpclab .widget-html-content { height: auto; line-height: 1.45;
  font-size: 13px; overflow: visible; }
.mpclab .widget-html { margin: 0; }
.mpclab .mpclab-card { background: var(--jp-layout-color1); border: 1px solid var(--mpc-line);
  border-radius: 10px; padding: 12px 16px 16px; min-width: 0;
  box-shadow: 0 1px 2px rgba(20, 30, 45, .05); }
.mpclab .mpclab-card { gap: 10px; }
.mpclab .mpclab-tab .mpclab-card { border: 0; box-shadow: none; padding: 0; border-radius: 0; }
.mpclab .mpclab-row.mpclab-line { flex-flow: row nowrap; gap: 4px 16px; }
.mpclab .mpclab-line > .widget-html:first-child { flex: 1 1 auto; min-width: 0; overflow: hidden; }
.mpclab .mpclab-line h3 { white-space: nowrap; }
.mpclab .mpclab-line > .widget-html:nth-child(2):has(.mpclab-steps) { flex: 0 0 auto; }
[data-jp-theme-light="false"] .mpclab .mpclab-picture { filter: invert(.885) hue-rotate(180deg);
  border-color: transparent; }
[data-jp-theme-light="false"] .mpclab .widget-dropdown > select { background-image:
  url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 18 18'%3E\
%3Cpath fill='%23ccc' d='M5.2 5.9 9 9.7l3.8-3.8L14 7.1l-5 5-5-5z'/%3E%3C/svg%3E"); }
.mpclab .mpclab-line h3 small { overflow: hidden; text-overflow: ellipsis; min-width: 0; }
.mpclab .mpclab-tab .mpclab-flow > .widget-html:first-child,
.mpclab .mpclab-tab .mpclab-outcome > .widget-html:first-child:has(small:empty),
.mpclab .mpclab-tab .mpclab-compare > .widget-html:first-child:has(small:empty) { display: none; }
.mpclab .mpclab-tab .mpclab-outcome h3 > span,
.mpclab .mpclab-tab .mpclab-compare h3 > span, .mpclab .mpclab-tab .mpclab-log h3 > span {
  display: none; }
.mpclab pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; margin: 4px 0; }
.mpclab .mpclab-tab .jupyter-widget-TabPanel-tabContents, .mpclab .mpclab-tab .widget-tab-contents {
  padding: 12px 14px; }
.mpclab .mpclab-card.mpclab-coordinator { gap: 2px 16px; padding: 7px 16px; }
.mpclab .mpclab-next-step { font-size: 15px; }
.mpclab .mpclab-card.mpclab-world, .mpclab .mpclab-card.mpclab-time { padding: 5px 16px; }
.mpclab h3 { margin: 0; }
.mpclab h3 { font-size: 13.5px; font-weight: 650; letter-spacing: .01em;
  color: var(--jp-ui-font-color0, var(--jp-ui-font-color1)); display: flex;
  align-items: baseline; gap: 10px; line-height: 1.5; }
.mpclab h3 small, .mpclab .mpclab-small { font-weight: 400; font-size: 12px;
  color: var(--jp-ui-font-color2); }
.mpclab .mpclab-row { gap: 8px; align-items: flex-end; flex-flow: row wrap; }
.mpclab .jupyter-button { border-radius: 6px; height: 30px; line-height: 28px; margin: 0;
  font-size: 12.5px; font-weight: 500; padding: 0 12px; width: auto; box-shadow: none;
  border: 1px solid var(--mpc-line); background: var(--jp-layout-color1);
  color: var(--jp-ui-font-color1); transition: background .12s, border-color .12s; }
.mpclab .jupyter-button[class*="mpclab-member-"],
.mpclab .jupyter-button[class*="mpclab-life-"] { padding: 0 2px; }
.mpclab .jupyter-button:hover:enabled { background: var(--mpc-soft);
  border-color: var(--jp-border-color1); box-shadow: none; }
.mpclab .jupyter-button:focus-visible { outline: 2px solid #3d7cb8; outline-offset: 1px; }
.mpclab .jupyter-button:disabled { opacity: .45; }
.mpclab .jupyter-button.mod-primary { background: #24598c; border-color: #24598c; color: #fff; }
.mpclab .jupyter-button.mod-primary:hover:enabled { background: #1c4870; }
.mpclab .jupyter-button.mod-success { background: #1a7f4b; border-color: #1a7f4b; color: #fff; }
.mpclab .jupyter-button.mod-success:hover:enabled { background: #14653b; }
.mpclab .jupyter-button.mod-danger { background: transparent; border-color: var(--mpc-bad);
  color: var(--mpc-bad); }
.mpclab .jupyter-button.mod-danger:hover:enabled { background: #c92a2a; color: #fff; }
.mpclab .mpclab-next { box-shadow: 0 0 0 3px rgba(61, 124, 184, .30); }
.mpclab .mpclab-field { flex-direction: column; align-items: stretch; height: auto; margin: 0; }
.mpclab .mpclab-field > .widget-label { width: auto; height: auto; text-align: left;
  line-height: 1.5; font-size: 11.5px; color: var(--jp-ui-font-color2); margin: 0; padding: 0; }
.mpclab .mpclab-field input, .mpclab .mpclab-field select, .mpclab .mpclab-bare select,
.mpclab .mpclab-bare input { height: 30px; border-radius: 6px; font-size: 12.5px; }
.mpclab .mpclab-field input, .mpclab .mpclab-field select { flex: 0 0 30px; }
.mpclab input, .mpclab select { font-family: inherit; }
.mpclab .mpclab-bare { height: 30px; }
.mpclab .mpclab-field select[multiple], .mpclab .mpclab-field textarea { height: auto; }
.mpclab .mpclab-field input:disabled, .mpclab .mpclab-field select:disabled { opacity: .55; }
.mpclab .mpclab-bare, .mpclab .widget-checkbox { margin: 0; }
.mpclab .widget-toggle-buttons { margin: 0; height: auto; overflow: visible; }
.mpclab .widget-toggle-buttons .widget-toggle-button { margin: 0 -1px 0 0; border-radius: 0;
  height: 30px; }
.mpclab .widget-toggle-buttons .widget-toggle-button:first-child { border-radius: 6px 0 0 6px; }
.mpclab .widget-toggle-buttons .widget-toggle-button:last-child { border-radius: 0 6px 6px 0; }
.mpclab .widget-toggle-buttons .widget-toggle-button.mod-active { background: #24598c;
  border-color: #24598c; color: #fff; box-shadow: none; }
.mpclab .mpclab-chip { display: inline-flex; align-items: center; justify-content: center;
  min-width: 20px; height: 20px; padding: 0 5px; box-sizing: border-box; border-radius: 10px;
  color: #fff; font-weight: 650; font-size: 11.5px; line-height: 1; vertical-align: middle; }
.mpclab .mpclab-chip.gone { opacity: .4; }
.mpclab .mpclab-badge { display: inline-block; padding: 0 8px; border-radius: 9px;
  font-size: 11.5px; line-height: 18px; font-weight: 550; white-space: nowrap;
  background: var(--mpc-soft); color: var(--jp-ui-font-color1); }
.mpclab .mpclab-badge.good { background: rgba(38, 160, 98, .16); color: var(--mpc-good); }
.mpclab .mpclab-badge.bad { background: rgba(214, 60, 60, .14); color: var(--mpc-bad); }
.mpclab .mpclab-badge.warn { background: rgba(230, 150, 20, .17); color: var(--mpc-warn); }
.mpclab .mpclab-badge.quiet { color: var(--jp-ui-font-color2); }
.mpclab .mpclab-good { color: var(--mpc-good); } .mpclab .mpclab-bad { color: var(--mpc-bad); }
.mpclab .mpclab-warn { color: var(--mpc-warn); }
.mpclab code { font-size: 12px; background: var(--mpc-soft); padding: 1px 5px; border-radius: 4px;
  color: inherit; }
.mpclab table.mpclab-table { border-collapse: collapse; width: 100%; font-size: 12.5px;
  margin: 0; background: none; border: 0; }
.mpclab table.mpclab-table th { text-align: left; font-weight: 500; font-size: 11.5px;
  color: var(--jp-ui-font-color2); padding: 4px 10px 4px 0; vertical-align: bottom;
  border-bottom: 1px solid var(--mpc-line); background: none; max-width: none; }
.mpclab table.mpclab-table td { text-align: left; padding: 5px 10px 5px 0; vertical-align: top;
  border-bottom: 1px solid var(--jp-border-color3, var(--mpc-line)); background: none;
  max-width: none; white-space: normal; }
.mpclab table.mpclab-table tbody tr:nth-child(n) { background: none; }
.mpclab table.mpclab-table tr:last-child td { border-bottom: 0; }
.mpclab .mpclab-any { overflow-wrap: anywhere; display: inline-block; min-width: 7em; }
.mpclab .mpclab-num { font-variant-numeric: tabular-nums; white-space: nowrap; }
.mpclab .mpclab-matrix table.mpclab-table th, .mpclab .mpclab-matrix table.mpclab-table td {
  padding: 3px 1px; text-align: center; vertical-align: middle; }
.mpclab .mpclab-matrix.many .mpclab-chip { min-width: 18px; height: 18px; padding: 0 2px;
  font-size: 10.5px; }
.mpclab .mpclab-facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; }
.mpclab .mpclab-facts dt { color: var(--jp-ui-font-color2); font-weight: 400; margin: 0; }
.mpclab .mpclab-facts dd { margin: 0; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
.mpclab .mpclab-picture { background: #fff; border-radius: 8px; border: 1px solid var(--mpc-line);
  padding: 8px; box-sizing: border-box; height: auto; object-fit: contain; margin: 0; }
.mpclab .mpclab-empty { color: var(--jp-ui-font-color2); padding: 10px 0; }
.mpclab .mpclab-banner { border-radius: 8px; padding: 8px 8px 8px 14px; align-items: center;
  background: rgba(214, 60, 60, .12); border: 1px solid rgba(214, 60, 60, .45); }
.mpclab .mpclab-banner .widget-html { flex: 1 1 auto; }
.mpclab .mpclab-scroll { overflow: auto; padding: 1px 1px 3px; }
.mpclab .mpclab-inline { align-items: center; gap: 10px 16px; flex-flow: row wrap;
  padding: 9px 16px; }
.mpclab .mpclab-inline .mpclab-row { align-items: center; }
.mpclab .mpclab-labelled { margin: 0; height: 30px; width: auto; }
.mpclab .mpclab-labelled > .widget-label { width: auto; font-size: 12px;
  color: var(--jp-ui-font-color2); }
.mpclab .mpclab-labelled input { height: 30px; border-radius: 6px; }
.mpclab .mpclab-votes { white-space: nowrap; }
.mpclab .mpclab-votes.many { white-space: normal; }
.mpclab .mpclab-votes span.vote { margin-right: 7px; white-space: nowrap; }
.mpclab .mpclab-result { overflow-wrap: anywhere; }
.mpclab .mpclab-columns { display: flex; font-size: 11.5px; color: var(--jp-ui-font-color2); }
.mpclab .mpclab-bars { display: grid; grid-template-columns: minmax(80px, auto) 1fr; gap: 3px 10px;
  align-items: center; font-size: 12px; }
.mpclab .mpclab-bars div { height: 10px; border-radius: 5px; background: var(--mpc-soft);
  position: relative; overflow: hidden; }
.mpclab .mpclab-bars i { position: absolute; top: 0; bottom: 0; border-radius: 5px;
  min-width: 4px; }
.mpclab .mpclab-said { color: var(--jp-ui-font-color2); min-height: 20px; font-size: 12.5px; }
.mpclab .mpclab-steps { display: flex; align-items: center; gap: 4px 5px;
  font-size: 11.5px; white-space: nowrap; color: var(--jp-ui-font-color2); }
.mpclab .mpclab-steps b { font-weight: 550; padding: 1px 8px; border-radius: 11px;
  border: 1px solid var(--mpc-line); line-height: 19px; }
.mpclab .mpclab-steps b.done { color: var(--mpc-good); border-color: transparent;
  background: rgba(38, 160, 98, .13); }
.mpclab .mpclab-steps b.now { background: #24598c; border-color: #24598c; color: #fff; }
.mpclab .mpclab-chain { contain: inline-size; display: flex;
  flex-direction: row-reverse; overflow-x: auto; /* its end is in view */ padding: 2px 0 6px; }
.mpclab .mpclab-chain > div { display: flex; align-items: stretch; flex: 0 0 auto;
  margin-right: auto; }
.mpclab .mpclab-block { border: 1px solid var(--mpc-line); border-radius: 8px; flex: 0 0 auto;
  padding: 6px 12px; max-width: 210px; background: var(--jp-layout-color1); }
.mpclab .mpclab-block p { margin: 0; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.mpclab .mpclab-link { flex: 0 0 22px; align-self: center; height: 2px;
  background: var(--jp-border-color1); }
.mpclab .mpclab-log { font-size: 12.5px; }
.mpclab .mpclab-log .line { display: flex; gap: 10px; padding: 2px 0; align-items: baseline;
  border-bottom: 1px solid var(--jp-border-color3, var(--mpc-line)); }
.mpclab .mpclab-log time { flex: 0 0 74px; text-align: right; color: var(--jp-ui-font-color2);
  font-variant-numeric: tabular-nums; }
.mpclab .mpclab-log span.who { flex: 0 0 30px; text-align: center; }
.mpclab .mpclab-dot { display: inline-block; width: 11px; height: 11px; border-radius: 50%; }
.mpclab .jupyter-widget-tab > .lm-TabBar { font-size: 13px; }
.mpclab .jupyter-widget-TabPanel-tabContents, .mpclab .widget-tab-contents {
  background: var(--jp-layout-color1); border-color: var(--mpc-line); padding: 14px 16px;
  border-radius: 0 10px 10px 10px; }
.mpclab { container-type: inline-size; }
.mpclab .mpclab-more { display: none; }
.mpclab .mpclab-time .mpclab-row { gap: 6px; }
.mpclab .mpclab-status:not(:has(.mpclab-said *, [role=alert])) { display: none; }
@container (max-width: 920px) {
  .mpclab .mpclab-tab { flex-basis: 340px !important; }
  .mpclab .mpclab-bare input { width: 60px; }
  .mpclab [class*="mpclab-party-"] .mpclab-badge { padding: 0 5px; }
  .mpclab [class*="mpclab-party-"] .mpclab-wide { display: none; }
  .mpclab .mpclab-columns { display: none; }
}
@container (max-width: 620px) {
  .mpclab .mpclab-more { display: block; order: 1; }
  .mpclab:not(.mpclab-unfolded) .mpclab-extra,
  .mpclab:not(.mpclab-unfolded) .mpclab-palette { display: none; }
  .mpclab .mpclab-card { padding: 6px 8px; }
  .mpclab .mpclab-card.mpclab-coordinator { padding: 6px 8px; }
  .mpclab .mpclab-inline { gap: 4px 8px; padding: 4px 8px; }
  .mpclab .mpclab-inline h3 { display: none; }
  .mpclab .mpclab-line h3 { display: none; }
  .mpclab.mpclab-unfolded .mpclab-row.mpclab-line:has(.mpclab-palette) { flex-wrap: wrap; }
  .mpclab .mpclab-row { gap: 6px; }
  .mpclab .jupyter-button { padding: 0 8px; }
  .mpclab .mpclab-steps b:not(.now) { display: none; }
  .mpclab .mpclab-next-step { font-size: 13.5px; line-height: 1.3; }
  .mpclab .mpclab-tab .jupyter-widget-TabPanel-tabContents,
  .mpclab .mpclab-tab .widget-tab-contents { padding: 8px; }
  .mpclab [class*="mpclab-party-"] { flex-flow: row wrap !important; }
  .mpclab .mpclab-columns { display: none; }
  .mpclab .widget-toggle-buttons .widget-toggle-button { padding: 0 6px; }
  .mpclab .mpclab-votes { white-space: normal; }
  .mpclab .mpclab-votes span.vote { margin-right: 3px; }
  .mpclab table.mpclab-table th, .mpclab table.mpclab-table td { padding-right: 5px; }
}
</style>
"""


def escape(text: object) -> str:
    """Text of parties, files and errors, made harmless in HTML."""
    return html.escape(str(text))


@lru_cache(maxsize=512)
def chip(party: Party, *, gone: bool = False) -> str:
    """A party as a coloured number; the server as a grey S."""
    name = style.party_name(party)
    letter = "S" if party == SERVER else str(party)
    more = " gone" if gone else ""
    return (
        f'<span class="mpclab-chip{more}" style="background:{style.party_colour(party)}" '
        f'title="{name}">{letter}</span>'
    )


def chips(parties: Iterable[Party]) -> str:
    return " ".join(chip(party) for party in parties)


def badge(words: object, mood: str = "", hint: str = "") -> str:
    title = f' title="{escape(hint)}"' if hint else ""
    return f'<span class="mpclab-badge {mood}"{title}>{escape(words)}</span>'


def heading(title: str, note: str = "") -> str:
    """A card's title; `note` is HTML."""
    return f"<h3><span>{escape(title)}</span><small>{note}</small></h3>"


def empty(words: str) -> str:
    """A placeholder where there is nothing to show yet."""
    return f'<div class="mpclab-empty">{escape(words)}</div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values (HTML) in two columns."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in pairs)
    return f'<dl class="mpclab-facts">{rows}</dl>'


def code(text: str) -> str:
    """Text as HTML, with `this` as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of HTML cells."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f'<table class="mpclab-table"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def seconds(us: int) -> str:
    """A moment of the trace: 1.234 s."""
    return f"{us / 1_000_000:.3f} s"
