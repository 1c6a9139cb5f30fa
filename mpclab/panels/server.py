"""`ServerPanel`: the signaling server. Start, stop, kill, and what it carries."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec.structs import replace

from mpclab.lab import Lab
from mpclab.lab.replies import ServerStatus
from mpclab.panels import controls, theme
from mpclab.panels.controller import Tick
from mpclab.panels.panel import Panel

_EVERY = 1.0  # seconds between two readings of an otherwise quiet server


class ServerPanel(Panel):
    """The signaling server on its port: start, stop, kill; status, sessions, connections."""

    title: ClassVar[str] = "Signaling server"
    name: ClassVar[str] = "server"

    def build(self) -> list[Any]:
        self.port = controls.number(
            "Port", 8080, 0, 65535, tip="where to listen; 0 takes a free port", name="port"
        )
        self.start = controls.button(
            "Start server", self._start, tip="start the signaling server", icon="play",
            mood="success", name="start",
        )  # fmt: skip
        self.stop = controls.button(
            "Stop", lambda: self._stop(kill=False), name="stop",
            tip="close every connection properly and stop; meshes outlive it",
        )  # fmt: skip
        self.kill = controls.button(
            "Kill", lambda: self._stop(kill=True), mood="danger", name="kill",
            tip="stop dead: nobody is told",
        )  # fmt: skip
        self.status = controls.page("", "mpclab-server-status")
        self.sessions = controls.page()
        self.session = controls.choice(
            "Session", [], name="session", tip="which session the operator means"
        )
        self.seat = controls.choice(
            "Seat", [], name="seat", tip="which of its seats: only taken ones are listed"
        )
        self.free = controls.button(
            "Free seat …", self._free, name="free", icon="user-times",
            tip="send the party away; its seat is for whatever key comes next",
        )  # fmt: skip
        self.close_session = controls.button(
            "Close session …", self._close, mood="danger", name="close-session", icon="times",
            tip="end the session at the server; its members are told, their meshes go on",
        )  # fmt: skip
        self.question = controls.Question("operator")
        self.session.observe(lambda _: self._choose(), "value")
        self.seat.observe(lambda _: self.question.drop(), "value")
        self.operator = controls.column(
            controls.page('<div class="mpclab-small">As the server\'s operator</div>'),
            controls.row(self.session, self.close_session, self.seat, self.free),
            self.question.row,
        )
        self._seen = ServerStatus(False)
        self._asked = False
        self._next = 0.0
        return [
            controls.row(self.port, self.start, self.stop, self.kill),
            self.status,
            self.sessions,
            self.operator,
        ]

    def _start(self) -> None:
        port = self.port.value
        self.controller.do(
            "starting the signaling server",
            lambda lab: _first_line(lab.start_server(port)),
            then=lambda _: self._soon(),
        )

    def _stop(self, *, kill: bool) -> None:
        self.controller.do(
            "killing the server" if kill else "stopping the server",
            lambda lab: lab.stop_server(kill=kill),
            then=lambda _: self._soon(),
        )

    def _free(self) -> None:
        session, party = self.session.value, self.seat.value
        self.question.ask(
            f"Send party {party} away from <b>{theme.escape(str(session))}</b>? "
            "Any key may take its seat then.",
            f"Free the seat of party {party}",
            lambda: self.controller.do(
                f"freeing the seat of party {party}",
                lambda lab: lab.free_seat(session, party),
                then=lambda _: self._soon(),
            ),
        )

    def _close(self) -> None:
        session = self.session.value
        members = sum(len(s.members) for s in self._seen.sessions if s.id == session)
        who = f"{members} member{'s are' if members != 1 else ' is'} told, and must join anew."
        self.question.ask(
            f"End <b>{theme.escape(str(session))}</b> at the server? {who}",
            "Close the session",
            lambda: self.controller.do(
                f"closing session {session}",
                lambda lab: lab.close_session(session),
                then=lambda _: self._soon(),
            ),
        )

    def _choose(self) -> None:
        """Another session: its seats are others, and no question is of it."""
        self.question.drop()
        self._list_seats(self._seen)

    def _list_seats(self, seen: ServerStatus) -> None:
        members = next((s.members for s in seen.sessions if s.id == self.session.value), {})
        seats = [(f"party {party} · {state}", party) for party, state in sorted(members.items())]
        controls.set_options(self.seat, seats)
        if seats and self.seat.value is None:
            self.seat.value = seats[0][1]
        controls.gate(self.free, "" if seats else "nobody has a seat there")

    def _soon(self) -> None:
        self._next = 0.0

    def refresh(self, now: Tick) -> None:
        self._gate(now.lab)
        # Asked of the worker: the ticker must not wait for a world that is busy or closing.
        if (now.needs_redraw or now.clock >= self._next) and not self._asked and not now.lab.closed:
            self._asked, self._next = True, now.clock + (0.3 if now.needs_redraw else _EVERY)
            self.controller.ask(_status, self._take)
        if now.lab.closed:
            self._seen = ServerStatus(False)
        self._show(self._seen, now.lab)

    def _take(self, status: ServerStatus | None) -> None:
        self._asked = False
        if status is not None:
            before, self._seen = self._seen, status
            if replace(status, uptime=0.0) != replace(before, uptime=0.0):
                self.controller.wake()

    def _gate(self, lab: Lab) -> None:
        running = bool(lab.world.server_url) and not lab.closed
        no_server = (
            "this lab is closed; press Reset"
            if lab.closed
            else "mesh: ready needs no signaling server"
            if lab.scenario.mesh == "ready"
            else f"this lab uses the server at {lab.url}"
            if lab.url
            else ""
        )
        controls.gate(self.start, no_server or ("it runs already" if running else ""))
        controls.gate(self.port, no_server or ("stop the server first" if running else ""))
        controls.gate(self.stop, no_server or ("" if running else "no server is running"))
        controls.gate(self.kill, no_server or ("" if running else "no server is running"))

    def _show(self, seen: ServerStatus, lab: Lab) -> None:
        word = f"{_lamp('🟢')} running" if seen.running else f"{_lamp('🔴')} stopped"
        if lab.url:
            word = f"used at {theme.escape(lab.url)}"
        self.note(word)
        open_ones = [s.id for s in seen.sessions] if seen.running else []
        controls.set_options(self.session, [(name, name) for name in open_ones])
        if open_ones and self.session.value is None:
            self.session.value = open_ones[0]
        if not open_ones and self.question.stands:
            self.question.drop()
        self._list_seats(seen)
        controls.show(self.operator, bool(open_ones))
        if not seen.running:
            more = " The mesh goes on without it." if lab.group.joined and not lab.url else ""
            self.status.value = theme.empty(f"No server runs here.{more}")
            self.sessions.value = ""
            return
        errors = theme.badge(seen.errors, theme.BAD) if seen.errors else "0"
        self.status.value = theme.facts(
            [
                ("url", f"<code>{theme.escape(seen.url)}</code>"),
                ("uptime", uptime(seen.uptime)),
                ("connections", str(seen.connections)),
                ("relayed", f"{seen.relayed:,} messages".replace(",", " ")),
                ("errors", errors),
            ]
        )
        self.sessions.value = "".join(_session(s) for s in seen.sessions) or theme.empty(
            "No session is open: the first party that joins opens one."
        )


def _status(lab: Lab) -> ServerStatus | None:
    return None if lab.closed else lab.server_status()


def _lamp(sign: str) -> str:
    return f'<span style="color:#000">{sign}</span>'  # a pale ink would fade its colour


def _first_line(status: ServerStatus) -> str:
    return repr(status).splitlines()[0]


def _session(s: Any) -> str:
    members = " ".join(
        f"{theme.chip(p, gone=state != 'online')}"
        + (f' <span class="mpclab-small">{theme.escape(state)}</span>' if state != "online" else "")
        for p, state in sorted(s.members.items())
    )
    head = (
        f"<b>{theme.escape(s.id)}</b> <span class='mpclab-small'>{len(s.members)} of {s.n} · "
        f"threshold {s.t} · {theme.escape(s.policy)}"
        f"{'' if s.access == 'open' else ' · ' + theme.escape(s.access)}</span>"
    )
    return f'<div style="margin-top:6px">{head}<br>{members or "nobody yet"}</div>'


def uptime(seconds: float) -> str:
    """`7 s`, `3 min 20 s`, `2 h 5 min`."""
    s = int(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60} min"
