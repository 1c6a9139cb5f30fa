"""How soon a widget answers in a real kernel, while a 12-party mesh is being set up behind it.

The kernel runs in a process of its own, as in JupyterLab. A round trip is a widget's change sent
to the kernel as the browser sends it, until the kernel's answer (another widget's change) is
here. Meanwhile the coordinator spawns and joins twelve WebRTC parties and paints its panels.
"""

from __future__ import annotations

import subprocess
import time
from typing import Any

from jupyter_client.manager import start_new_kernel

from benchmarks.measure import Result, heading, show

PARTIES = 12
SAMPLES = 50
SETUP = f"""
import ipywidgets as widgets
from mpclab.panels import Coordinator
c = Coordinator(parties={PARTIES}, world="webrtc")
c.widget
question, answer = widgets.IntText(), widgets.IntText()
question.observe(lambda change: setattr(answer, "value", change["new"]), "value")
def press(button):
    assert not button.disabled, button.tooltip
    button.click()
c.server.port.value = 0
press(c.server.start)
"""
GATHER = """
import time
def until(button):
    while button.disabled: time.sleep(0.02)
    press(button)
until(c.parties.spawn)
until(c.parties.join)
"""
LINKED = "print(c.connections.heading.value)"


def _run(client: Any, code: str) -> str:
    """Run a cell to its end; what it printed."""
    printed: list[str] = []

    def output(msg: dict[str, Any]) -> None:
        if msg["msg_type"] == "stream":
            printed.append(msg["content"]["text"])
        elif msg["msg_type"] == "error":
            raise RuntimeError(msg["content"]["evalue"])

    client.execute_interactive(code, output_hook=output, timeout=60)
    return "".join(printed)


def _ask(client: Any, question: str, answer: str, value: int) -> float:
    """One round trip, s."""
    state = {"method": "update", "state": {"value": value}, "buffer_paths": []}
    content = {"comm_id": question, "data": state}
    began = time.perf_counter()
    client.shell_channel.send(client.session.msg("comm_msg", content))
    while True:
        msg = client.get_iopub_msg(timeout=30)
        if msg["msg_type"] == "comm_msg" and msg["content"]["comm_id"] == answer:
            data = msg["content"]["data"]
            if data.get("state", {}).get("value") == value:
                return time.perf_counter() - began


def round_trips() -> tuple[list[float], str]:
    """Round trips while the mesh grows, s, and what the panel says of it at the end."""
    manager, client = start_new_kernel(kernel_name="python3", stderr=subprocess.DEVNULL)
    try:
        _run(client, SETUP)
        ids = _run(client, "print(question.comm.comm_id, answer.comm.comm_id)").split()
        _ask(client, *ids, 1)
        _run(client, GATHER)
        times: list[float] = []
        said = ""
        while "66 of 66" not in said and len(times) < 20 * SAMPLES:
            for _ in range(SAMPLES):
                times.append(_ask(client, *ids, len(times) + 2))
                time.sleep(0.01)  # a user's clicks are not a flood
            said = _run(client, LINKED)
        return times, said
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def main() -> None:
    heading(f"widgets, while a {PARTIES}-party WebRTC mesh is set up behind them")
    times, said = round_trips()
    assert "66 of 66" in said, said
    times.sort()
    p50, p95 = (times[int(len(times) * q)] * 1000 for q in (0.5, 0.95))
    show(Result("a widget's round trip, p50", p50, "ms"))
    show(Result("a widget's round trip, p95", p95, "ms", 200))
    show(Result("a widget's round trip, worst", times[-1] * 1000, "ms"))


if __name__ == "__main__":
    main()
