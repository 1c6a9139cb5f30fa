"""How smoothly the living diagram moves: frames drawn in Chromium while panning and zooming.

A page of so many messages is opened from disk, shown whole, then at the zoom where arrows are just
drawn one by one, and panned by a little at each animation frame. `draw` is the time a frame takes
to draw, `interval` the time between two frames: 60 a second are 16.7 ms apart.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.measure import Result, heading, show
from mpclab.trace import Trace
from mpclab.trace.rows import Sent
from mpclab.view import page
from tools import chromium

PARTIES = 10
SIZES = (5_000, 100_000, 1_000_000)
_PAN = """(frames) => new Promise((done) => {
  const d = window.diagram, draws = [], gaps = [];
  let last = performance.now(), k = 0;
  d.frames.length = 0;
  const step = (now) => {
    gaps.push(now - last); last = now;
    if (++k > frames) { done([d.frames.slice(1), gaps.slice(2)]); return; }
    d.pan(k % 80 < 40 ? 0.01 : -0.01);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""
_CLOSER = """() => new Promise((done) => {
  const d = window.diagram;
  const step = () => {
    if (d.picture.visible.length) { done(d.picture.visible.length); return; }
    d.zoom(0.7); requestAnimationFrame(step);
  };
  step();
})"""


def trace_of(messages: int) -> Trace:
    """Broadcasts among `PARTIES`, each arriving a little later."""
    trace = Trace()
    others = {p: tuple(q for q in range(1, PARTIES + 1) if q != p) for p in range(1, PARTIES + 1)}
    for number in range(messages // (PARTIES - 1)):
        sender, at = 1 + number % PARTIES, number * 900
        kind = ("Propose", "Prepare", "Commit")[number % 3]
        trace.append(Sent(at, sender, number + 1, others[sender], ("session",), kind, 120))
        for k, receiver in enumerate(others[sender]):
            trace.delivered(at + 40 * (k + 1), receiver, sender, number + 1)
    return trace


def measure(messages: int) -> list[Result]:
    """Frame times at one size."""
    began = time.process_time()
    text = page(trace_of(messages), title=f"{messages} messages")
    made = time.process_time() - began
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "run.html"
        file.write_text(text, encoding="utf-8")
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium.find(), args=flags)
        shown = browser.new_page(viewport={"width": 1280, "height": 800})
        began = time.perf_counter()
        shown.goto(file.as_uri(), timeout=120_000)
        shown.wait_for_function("window.diagram?.frames.length > 0", timeout=120_000)
        loaded = time.perf_counter() - began
        results = [
            Result(f"{messages:,}: page made, CPU", made, "s"),
            Result(f"{messages:,}: file opened to first picture", loaded, "s"),
        ]
        for name, zoom in (("whole", ""), ("arrows", _CLOSER)):
            if zoom:
                shown.evaluate(zoom)
            else:
                shown.evaluate("diagram.zoom(0.5)")
            draws, gaps = shown.evaluate(_PAN, 160)
            for what, times in (("draw", sorted(draws)), ("interval", sorted(gaps))):
                middle, late = times[len(times) // 2], times[len(times) * 95 // 100]
                results += [
                    Result(f"{messages:,}: {name}, {what}, median", middle, "ms"),
                    Result(f"{messages:,}: {name}, {what}, p95", late, "ms"),
                ]
        browser.close()
    return results


def main() -> None:
    heading("Frames of the living diagram")
    for messages in SIZES:
        for result in measure(messages):
            show(result)
