"""`BrowserParty(lab)`: the browser that shows the notebook is a party beside the kernel's.

Its page is that of a tab, in a frame. It comes from Jupyter's own port, where the page is put among
the extensions, and it reaches the signaling server over the widget's comm: so it works wherever the
notebook does, also where no port of the kernel's machine can be reached. With parties to which it
finds no direct way it speaks through the server, sealed, as all do.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import anywidget
import traitlets

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.lab.lab import Lab

_FOLDER: Final = "mpclab-tab"


class BrowserParty(anywidget.AnyWidget):
    """A party in the viewer's browser.

    Args:
        lab: whose session it joins, with a running server; of a real world.
        party: its number; the first that is not in the lab.
        height: of the frame, pixels.

    Raises:
        UsageError: a simulated lab, no server, no number left, or the page cannot be made.
    """

    _esm = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    place = traitlets.Unicode().tag(sync=True)
    address = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(760).tag(sync=True)

    def __init__(self, lab: Lab, party: Party | None = None, *, height: int = 760) -> None:
        # A notebook that runs in a browser itself has panels, and no sockets.
        from mpclab.worlds.real.ferry import Ferry
        from mpclab.worlds.real.websocket import WebSocketWorld

        if not isinstance(lab.world, WebSocketWorld):
            raise UsageError("a browser is no part of a simulation: use Lab(world='webrtc')")
        if not (lab.url or lab.world.server_url):
            raise UsageError("no signaling server is running; call start_server() first")
        scenario = lab.scenario
        free = [p for p in range(1, scenario.parties + 1) if p not in lab.parties]
        if party is None and not free:
            raise UsageError(f"all {scenario.parties} parties are in this lab; spawn fewer")
        self.party = free[0] if party is None else party
        if self.party not in free:
            raise UsageError(f"party {self.party} is in this lab, or not of its session")
        fields = {
            "session": scenario.session, "party": self.party, "parties": scenario.parties,
            "threshold": scenario.threshold, "policy": scenario.policy,
            "agreement": scenario.agreement, "server": "frame:", "tell": "yes",
        }  # fmt: skip
        super().__init__(place=_published(), address=f"#{urlencode(fields)}", height=height)
        self._ferry = Ferry(lab.world, self._back)
        self._open: set[str] = set()
        self.on_msg(self._hear)

    def _hear(self, _: Any, message: Any, buffers: Any) -> None:
        match message:
            case {"view": str(view), "what": "gone"}:
                for name in [n for n in self._open if n.startswith(f"{view} ")]:
                    self._close(name)
            case {"view": str(view), "link": int(link), "what": str(what), "text": str(text)}:
                name = f"{view} {link}"
                if what == "open":
                    self._open.add(name)
                    self._ferry.open(name)
                elif what == "say":
                    self._ferry.say(name, text)
                elif what == "close":
                    self._close(name)
            case _:
                pass  # a page of another version

    def _close(self, name: str) -> None:
        self._open.discard(name)
        self._ferry.close(name)

    def _back(self, name: str, what: str, text: str) -> None:
        view, _, link = name.partition(" ")
        self.send({"view": view, "link": int(link), "what": what, "text": text})


def _published() -> str:
    """Put the page where Jupyter's server offers files of extensions; its place there."""
    from jupyter_core.paths import jupyter_data_dir

    from mpclab.web import assets

    made = assets.ready()
    home = Path(jupyter_data_dir()) / "labextensions" / _FOLDER
    target = home / made.name
    if not target.exists():
        new = home / f".new-{made.name}"
        shutil.rmtree(new, ignore_errors=True)
        # Packed files are for our own server: Jupyter's does not offer them.
        shutil.copytree(made, new, ignore=shutil.ignore_patterns("*.br", "*.gz"))
        new.rename(target)
        for old in home.iterdir():
            if old != target:
                shutil.rmtree(old, ignore_errors=True)
    return f"{_FOLDER}/{made.name}"
