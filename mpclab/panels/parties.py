"""`PartiesPanel`: the session's settings, and its parties one by one."""

from __future__ import annotations

import random
from functools import partial
from itertools import count
from typing import Any, ClassVar

from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.ids import SECOND, Party, new_id
from mpclab.lab import Lab
from mpclab.panels import controls, theme
from mpclab.panels.controller import Tick
from mpclab.panels.panel import Panel
from mpclab.plots import style
from mpclab.trace.fold import CRASHED, PAUSED, State

VOTES = ("approve", "reject", "silent", "validate", "hand")
MOST_ROWS = 24
MANY = 30  # more links than of so many parties take long to set up
_NONE_KEPT = "none"
_LIFE = {CRASHED: theme.BAD, PAUSED: theme.WARN}


class PartiesPanel(Panel):
    """n, t, policy, agreement, session; spawn, join, leave, crash, restart; votes; messages."""

    title: ClassVar[str] = "Session and parties"
    name: ClassVar[str] = "parties"

    def build(self) -> list[Any]:
        self._build_settings()
        self._build_actions()
        self.rows: list[_Row] = []
        self.table = controls.column(gap="4px", max_height="330px")
        self.table.add_class("mpclab-scroll")
        head = controls.page(
            '<div class="mpclab-columns"><span style="flex:1">party</span>'
            '<span style="width:81px">private</span>'
            '<span style="width:222px">votes</span></div>'
        )
        self._build_talk()
        self.warning = controls.page()
        return [self.settings, self.warning, self.actions, head, self.table, self.talk]

    # --- settings -----------------------------------------------------------------------------

    def _build_settings(self) -> None:
        self.n = controls.number(
            "Parties n", 4, 1, 9999, width="72px", tip="how many parties", name="n"
        )
        self.t = controls.number(
            "Threshold t", 3, 1, 9999, width="82px", name="t",
            tip="parties needed to use a shared key",
        )  # fmt: skip
        self.policy = controls.choice(
            "Approval", ["unanimous", "threshold"], width="112px", name="policy",
            tip="who must approve an operation",
        )  # fmt: skip
        self.k = controls.number(
            "of which k", 3, 1, 9999, width="76px", tip="approvals needed", name="k"
        )
        self.agreement = controls.choice(
            "Agreement", list(AGREEMENTS), width="104px", name="agreement",
            tip="how all come to hold the same record",
        )  # fmt: skip
        self.session = controls.text(
            "Session id", "lab", width="112px", tip="parties meet by this id", name="session"
        )
        self.patience = controls.number(
            "Patience s", 10, 1, 86_400, width="80px", name="patience",
            tip="how long a proposal waits for votes, by hand or not",
        )  # fmt: skip
        self.generate = controls.button(
            "Generate", self._generate, tip="a new session id", icon="refresh", name="generate"
        )
        self.policy.observe(
            lambda _: controls.show(self.k, self.policy.value == "threshold"), "value"
        )
        self.another = controls.button(
            "Another session", self._open_another, icon="plus", name="another",
            tip="a second session on the same server, with parties of its own; switch above",
        )  # fmt: skip
        self.n.observe(self._resize, "value")
        self.fields = (
            self.n, self.t, self.policy, self.k, self.agreement, self.patience, self.session,
        )  # fmt: skip
        self._shown: tuple[Lab | None, str] = (None, "")
        self._typed: dict[str, list[Any]] = {}  # by session, what stood in the fields
        for each in (self.patience, self.session, self.generate, self.another):
            each.add_class("mpclab-extra")
        self.settings = controls.row(*self.fields, self.generate, self.another)

    def _resize(self, change: Any) -> None:
        """Another n: keep t a majority if it was one."""
        if self.t.value == change["old"] // 2 + 1 or self.t.value > change["new"]:
            self.t.value = change["new"] // 2 + 1
        self.k.value = min(self.k.value, change["new"])

    def _generate(self) -> None:
        self.session.value = f"lab-{new_id(random.SystemRandom(), 6)}"

    def _open_another(self) -> None:
        settings = self._of_another()

        def open_another(lab: Lab) -> str:
            taken = self.controller.lab.groups
            first = self.controller.lab.scenario.session
            name = next(name for k in count(2) if (name := f"{first}-{k}") not in taken)
            lab.session(name, **settings)
            self.controller.choose(name)
            return f"✓ session {name} is open: spawn its parties; the others go on"

        self.controller.do("opening a session", open_another)

    def chosen(self) -> dict[str, Any]:
        """The settings as fields of a scenario."""
        threshold = self.policy.value == "threshold"
        return {
            "parties": self.n.value,
            "threshold": self.t.value,
            "policy": f"threshold({self.k.value})" if threshold else "unanimous",
            "agreement": self.agreement.value,
            "patience": f"{self.patience.value}s",
            "session": self.session.value,
        }

    def _of_another(self) -> dict[str, Any]:
        """The settings as fields of a session beside the first."""
        chosen = {name: value for name, value in self.chosen().items() if name != "session"}
        return {**chosen, "votes": {}, "private": {}}

    def differ(self, lab: Lab) -> bool:
        """Whether the fields say something else than what the lab was made with."""
        chosen = self.chosen()
        return lab.scenario.but(**chosen) != lab.scenario

    def _settings_of(self, lab: Lab) -> None:
        """Show the settings of another lab or session, as they were typed if it was shown before
        and nobody is there yet."""
        whole, name = self.controller.lab, lab.scenario.session
        before, shown = self._shown
        if before is not whole:
            self._typed.clear()
        elif shown != name:
            self._typed[shown] = [field.value for field in self.fields]
        self._shown = whole, name
        self._read_settings(lab)
        typed = self._typed.pop(name, ())
        if not lab.group.present:
            for field, value in zip(self.fields, typed, strict=False):
                field.value = value

    def _read_settings(self, lab: Lab) -> None:
        """Show the settings of another lab."""
        s = lab.scenario
        self.n.value, self.t.value = s.parties, s.threshold
        self.agreement.value, self.session.value = s.agreement, s.session
        self.patience.value = max(1, round(s.patience / SECOND))
        name, _, number = s.policy.partition("(")
        self.policy.value = name.strip()
        self.k.value = int(number.rstrip(") ")) if number else s.threshold
        controls.show(self.k, self.policy.value == "threshold")

    # --- all at once --------------------------------------------------------------------------

    def _build_actions(self) -> None:
        self.spawn = controls.button(
            "Spawn all", lambda: self._spawn(()), icon="users", mood="primary", name="spawn",
            tip="make the parties: keys, nodes, stores; with the settings above",
        )  # fmt: skip
        self.join = controls.button(
            "Join all", lambda: self._join(()), icon="sign-in", mood="primary", name="join",
            tip="have every party join the session",
        )  # fmt: skip
        self.leave = controls.button(
            "Leave all",
            lambda: self._leave(()),
            tip="have every party leave for good",
            name="leave",
        )
        self.apart = controls.check(
            "as processes", False, name="processes",
            tip="each party in a process of its own: to crash it is SIGKILL, to pause it SIGSTOP",
        )  # fmt: skip
        self.everyone = controls.choice(
            "Everyone votes", [("as below", ""), *((v, v) for v in VOTES)], width="118px",
            tip="set how every party votes", name="everyone-votes",
        )  # fmt: skip
        self.everyone.observe(self._all_vote, "value")
        self.actions = controls.row(self.spawn, self.join, self.leave, self.apart, self.everyone)

    def _spawn(self, parties: tuple[Party, ...]) -> None:
        chosen = self.chosen()
        process = self.apart.value and not self.apart.disabled

        def spawn(lab: Lab) -> str:
            said = ""
            if lab.group is not self.controller.lab.group:
                if not lab.group.present and self.differ(lab):
                    lab.session(lab.group.called, **self._of_another())
                return str(lab.spawn(*parties, process=process))
            if not lab.group.present and self.differ(lab):
                votes = {p: v for p, v in lab.group.votes.items() if p <= chosen["parties"]}
                hand = {p: v for p, v in votes.items() if v == "hand"}
                kept = {p: v for p, v in votes.items() if v != "hand"}
                said = self.controller.renew(**chosen, votes=kept, operations=(), faults=()) + "; "
                for party in hand:
                    self.controller.lab.set_votes(party, "hand")
            return f"{said}{self.controller.shown.spawn(*parties, process=process)}"

        self.controller.do("spawning", spawn)

    def _join(self, parties: tuple[Party, ...]) -> None:
        # Without waiting: one watches the mesh grow, and other buttons work meanwhile.
        self.controller.do("joining", lambda lab: lab.join(*parties, wait=False))

    def _leave(self, parties: tuple[Party, ...]) -> None:
        self.controller.do("leaving", lambda lab: lab.leave(*parties))

    def _all_vote(self, change: Any) -> None:
        votes = change["new"]
        if votes:
            self.controller.do("changing votes", partial(_set_all, votes=votes))
            self.everyone.value = ""

    # --- messages -----------------------------------------------------------------------------

    def _build_talk(self) -> None:
        self.speaker = controls.party_choice("Message from", 4, tip="who speaks", name="speaker")
        self.listener = controls.choice("to", [("everyone", 0)], width="104px", tip="who listens")
        self.listener.add_class("mpclab-listener")
        self.line = controls.text("Text", "hello", width="180px", tip="what is said", name="line")
        self.send = controls.button(
            "Send", self._send, icon="bullhorn", name="send",
            tip="through the signaling server; the log shows it",
        )  # fmt: skip
        self.talk = controls.row(self.speaker, self.listener, self.line, self.send)

    def _send(self) -> None:
        sender, to, words = self.speaker.value, self.listener.value, self.line.value
        if to:
            self.controller.do("sending", lambda lab: lab.tell(sender, to, words))
        else:
            self.controller.do("broadcasting", lambda lab: lab.broadcast(sender, words))

    # --- painting -----------------------------------------------------------------------------

    def refresh(self, now: Tick) -> None:
        lab, state = now.lab, now.state
        if now.is_new:
            controls.set_options(self.agreement, [(word, word) for word in AGREEMENTS])
            self._settings_of(lab)
            self._make_rows(lab)
        present, joined = lab.group.present, lab.group.joined
        closed = "this lab is closed; press Reset" if lab.closed else ""
        here = "all parties must leave first, or press Reset" if present else ""
        first = lab.group is self.controller.lab.group
        alone = len(self.controller.lab.groups) == 1
        others = "" if alone or not first else "another session is open, too; press Reset"
        for each in (*self.fields, self.generate):
            controls.gate(each, closed or here or others)
        if not first:
            for each in (self.session, self.generate):
                controls.gate(each, closed or "this is what it is called")
        controls.gate(self.another, closed)
        away = set(lab.group.everyone) - set(present)
        served = bool(lab.url or lab.world.server_url or lab.scenario.mesh == "ready")
        no_server = "" if served else "start the signaling server first"
        controls.show(self.apart, lab.scenario.world != "simulated")
        controls.gate(self.apart, closed or no_server or ("" if away else "every party is here"))
        controls.gate(self.spawn, closed or ("" if away or not present else "every party is here"))
        controls.gate(
            self.join,
            closed
            or ("" if present else "spawn parties first")
            or no_server
            or ("every party has joined" if len(joined) == len(present) else ""),
        )
        controls.gate(self.leave, closed or ("" if present else "nobody is here"))
        controls.gate(self.everyone, closed)
        controls.gate(
            self.send,
            closed or ("" if joined else "a party must join first") or no_server,
        )
        for each in self.rows:
            each.refresh(lab, state, closed or no_server, closed)
        self.warning.value = (
            ""
            if present or self.n.value <= MANY
            else f'<span class="mpclab-warn">{self.n.value} parties are '
            f"{self.n.value * (self.n.value - 1) // 2} links: joining takes a while. "
            "From code, Lab(mesh='ready') leaves that out.</span>"
        )
        up = sum(state.parties[p].life == "up" for p in present if p in state.parties)
        self.note(f"{len(present)} of {lab.scenario.parties} here, {up} up, {len(joined)} joined")

    def _make_rows(self, lab: Lab) -> None:
        n = lab.scenario.parties
        self.rows = [_Row(self, p) for p in lab.group.everyone[:MOST_ROWS]]
        more = n - len(self.rows)
        rest = (
            [controls.page(theme.empty(f"and {more} more: drive them from code"))] if more else []
        )
        self.table.children = [row.box for row in self.rows] + rest
        parties = [(f"party {p}", p) for p in lab.group.everyone]
        controls.set_options(self.speaker, parties)
        controls.set_options(self.listener, [("everyone", 0), *parties])


class _Row:
    """One party: who it is, how it is, how it votes, and two buttons."""

    def __init__(self, panel: PartiesPanel, party: Party) -> None:
        self.panel = panel
        self.party = party
        self.controller = panel.controller
        self.words = controls.page()
        self.words.layout.flex = "1 1 auto"
        self.votes = controls.choice("votes", VOTES, width="84px", tip=f"how party {party} votes")
        self.votes.description = ""
        self.votes.remove_class("mpclab-field")
        self.votes.add_class("mpclab-bare")
        self.votes.add_class(f"mpclab-votes-{party}")
        self.votes.observe(self._set_votes, "value")
        self.private = controls.text(
            "private", "", _NONE_KEPT, width="76px",
            tip=f"numbers that only party {party} knows, for sum, auction and the like: 3, 14",
        )  # fmt: skip
        self.private.description = ""
        self.private.remove_class("mpclab-field")
        self.private.add_class("mpclab-bare")
        self.private.add_class(f"mpclab-private-{party}")
        self.private.observe(self._set_private, "value")
        self.member = controls.button(
            "Spawn", self._member, tip="make this party, have it join, have it leave",
            name=f"member-{party}",
        )  # fmt: skip
        self.life = controls.button(
            "Crash", self._life, tip=f"party {party} stops dead; only its store is left",
            name=f"life-{party}",
        )  # fmt: skip
        for fixed in (self.member, self.life):
            fixed.layout.width, fixed.layout.flex = "62px", "0 0 62px"
        for field in (self.private, self.votes):
            field.layout.flex = "0 0 auto"
        self.box = controls.row(
            self.words,
            self.private,
            self.votes,
            self.member,
            self.life,
            align_items="center",
            gap="5px",
        )
        self.box.layout.flex_flow = "row nowrap"
        self.box.add_class(f"mpclab-party-{party}")
        self._shown = ""

    def _set_votes(self, change: Any) -> None:
        votes = change["new"]
        if votes == self._shown:
            return

        def set_votes(lab: Lab) -> Any:
            self._shown = ""  # whatever comes of it, the next tick shows what holds
            return lab.set_votes(self.party, votes)

        self.controller.do("changing votes", set_votes)

    def _set_private(self, change: Any) -> None:
        """Hand the numbers over and empty the field: a notebook saves what stands in it."""
        written = change["new"]
        if not written.strip():
            return
        self.private.value = ""

        def set_private(lab: Lab) -> Any:
            return lab.set_private(self.party, *controls.whole_numbers("private numbers", written))

        self.controller.do("keeping private numbers", set_private)

    def _member(self) -> None:
        party = self.party
        word = self.member.description
        if word == "Spawn":
            self.panel._spawn((party,))
        elif word == "Join":
            self.panel._join((party,))
        else:
            self.panel._leave((party,))

    def _life(self) -> None:
        party = self.party
        if self.life.description == "Crash":
            self.controller.do("crashing", lambda lab: lab.crash(party))
        else:
            self.controller.do("restarting", lambda lab: lab.restart(party))

    def refresh(self, lab: Lab, state: State, cannot_join: str, closed: str) -> None:
        party, group = self.party, lab.group
        known = state.parties.get(party)
        here = party in group.present
        life = known.life if known and here else ""
        joined = party in group.joined
        room = state.members.get(lab.scenario.session, {}).get(party, "")
        words = [theme.chip(party, gone=life != "up")]
        if not here:
            words.append(theme.badge("not here", theme.QUIET))
        else:
            words.append(theme.badge(life, _LIFE.get(life, theme.GOOD)))
        if here and joined and life != CRASHED:
            member = room == "present"
            words.append(
                f'<span class="mpclab-wide">{theme.badge("in session", theme.QUIET)}</span>'
                if member
                else theme.badge("no server connection", theme.WARN)
            )
        if known and known.leader:
            term = f", term {known.term}" if known.term is not None else ""
            words.append(theme.badge(f"leader{term}", theme.WARN))
        if known and not known.votes:
            words.append(theme.badge("does not vote", theme.QUIET))
        if known and known.blocked:
            words.append(theme.badge("blocked", theme.BAD, known.blocked))
        self.words.value = (
            f'<div style="display:flex;gap:6px;align-items:center">{"".join(words)}</div>'
        )
        votes = group.votes.get(party, "approve")
        if votes != self._shown:  # not on every tick: what was just chosen is still on its way
            self._shown = self.votes.value = votes
        controls.gate(self.votes, closed)
        kept = len(group.private.get(party, ()))
        self.private.placeholder = style.count(kept, "number") + " kept" if kept else _NONE_KEPT
        controls.gate(self.private, closed or ("" if here else "this party is not here"))
        self.member.description = "Leave" if joined else "Join" if here else "Spawn"
        crashed = life == CRASHED
        controls.gate(
            self.member,
            closed
            or ("restart it first" if crashed else "")
            or (cannot_join if self.member.description == "Join" else ""),
        )
        self.life.description = "Restart" if crashed else "Crash"
        controls.gate(self.life, closed or ("" if here else "this party is not here"))


def _set_all(lab: Lab, votes: str) -> str:
    for party in lab.group.everyone:
        lab.set_votes(party, votes)
    return f"✓ everyone votes from now on: {votes}"
