"""`OperationsPanel`: propose, watch every vote, approve or reject by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar

from mpclab.core.ids import Party
from mpclab.lab import Lab
from mpclab.operations import (
    OPERATIONS,
    Bytes,
    Number,
    Numbers,
    Parameter,
    Reference,
    Text,
)
from mpclab.panels import controls, theme
from mpclab.panels.controller import Tick
from mpclab.panels.hints import voters_missing
from mpclab.panels.panel import Panel
from mpclab.plots import style
from mpclab.trace.fold import UP, Operation, State

_SHOWN = 12  # the latest proposals
_MOODS = {
    "committed": theme.GOOD,
    "executed": theme.GOOD,
    "aborted": theme.BAD,
    "failed": theme.BAD,
}

_OWN = "parties run a protocol of your own: nothing is proposed to it here"


class OperationsPanel(Panel):
    """Proposals: make one, see who voted what and what it waits for, vote by hand."""

    title: ClassVar[str] = "Operations"
    name: ClassVar[str] = "operations"

    def build(self) -> list[Any]:
        self.by = controls.party_choice("Proposer", 4, tip="who proposes", name="by")
        self.kind = controls.choice(
            "Operation", list(OPERATIONS), width="118px", name="kind",
            tip="what is proposed",
        )  # fmt: skip
        self.parameters = controls.row(flex="1 1 130px")
        self.propose = controls.button(
            "Propose", self._propose, icon="paper-plane", mood="primary", name="propose",
            tip="ask everyone to agree to this",
        )  # fmt: skip
        self.fields: dict[str, tuple[Parameter, Any]] = {}
        self.kind.observe(lambda _: self._make_fields(), "value")
        self.table = controls.page()
        self._build_hand()
        self._known: list[Operation] = []
        self._make_fields()
        return [
            controls.row(self.by, self.kind, self.parameters, self.propose),
            self.table,
            self.hand,
        ]

    # --- propose ------------------------------------------------------------------------------

    def _make_fields(self) -> None:
        spec = OPERATIONS[self.kind.value]
        self.fields = {p.name: (p, parameter_field(p)) for p in spec.parameters}
        self.parameters.children = [widget for _, widget in self.fields.values()]
        controls.show(self.parameters, bool(self.fields))
        self._offer_operations()

    def _offer_operations(self) -> None:
        for parameter, widget in self.fields.values():
            if isinstance(parameter, Reference):
                none = [("the newest", "")] if parameter.default == "" else []
                offered = none + [
                    (f"{i}. {style.shorten(o.text or o.kind, 24)}", i)
                    for i, o in reversed(list(enumerate(self._known, 1)))
                    if not parameter.kinds or o.kind in parameter.kinds
                ]
                controls.set_options(widget, offered or [("nothing proposed yet", 0)])

    def given(self) -> dict[str, Any]:
        """The parameters as they stand in the fields.

        Raises:
            UsageError: a field that cannot be read.
        """
        return {name: read_field(p, widget) for name, (p, widget) in self.fields.items()}

    def _propose(self) -> None:
        by, kind = self.by.value, self.kind.value

        def propose(lab: Lab) -> str:
            lab.propose(by=by, kind=kind, **self.given())
            return f"✓ party {by} proposes: {kind}"

        self.controller.do("proposing", propose)

    # --- vote by hand ---------------------------------------------------------------------------

    def _build_hand(self) -> None:
        self.which = controls.choice("Open proposal", [("none", "")], width="200px", name="which")
        self.voter = controls.party_choice("Voter", 4, tip="who votes", name="voter")
        self.reason = controls.text(
            "Reason", "", "optional", width="150px", tip="why it rejects", name="reason"
        )
        self.approve = controls.button(
            "Approve", lambda: self._vote(True), icon="check", mood="success", name="approve",
            tip="cast this party's vote: yes",
        )  # fmt: skip
        self.reject = controls.button(
            "Reject", lambda: self._vote(False), icon="times", mood="danger", name="reject",
            tip="cast this party's vote: no",
        )  # fmt: skip
        self.hand = controls.row(self.which, self.voter, self.reason, self.approve, self.reject)

    def _vote(self, approve: bool) -> None:
        party, op, reason = self.voter.value, self.which.value, self.reason.value
        self.controller.do("voting", lambda lab: _cast(lab, party, op, approve, reason))

    # --- painting -----------------------------------------------------------------------------

    def refresh(self, now: Tick) -> None:
        lab, state = now.lab, now.state
        if now.is_new:
            controls.set_options(self.by, [(f"party {p}", p) for p in lab.group.everyone])
            controls.set_options(self.kind, [(word, word) for word in OPERATIONS])
        if now.is_new or now.rows:
            self._known = [o for o in state.operations.values() if o.proposed_at is not None]
            self._offer_operations()
            own = lab.group.protocol is not None
            self.table.value = outputs(lab) if own else proposals(self._known, state, lab)
            self.note(_tally(self._known))
        joined = lab.group.joined
        closed = "this lab is closed; press Reset" if lab.closed else ""
        life = state.parties[self.by.value].life if self.by.value in state.parties else ""
        why = (
            closed
            or (_OWN if lab.group.protocol is not None else "")
            or ("" if joined else "parties must join first")
            or ("" if self.by.value in joined else f"party {self.by.value} has not joined")
            or ("" if life == UP else f"party {self.by.value} is {life}")
            or ("" if self.kind.value != "response" or self._known else "nothing to answer yet")
        )
        controls.gate(self.propose, why)
        self._refresh_hand(lab, closed)

    def _refresh_hand(self, lab: Lab, closed: str) -> None:
        is_open = [o for o in self._known if o.status in ("open", "expired")]
        names = [
            (f"{self._known.index(o) + 1}. {style.shorten(o.text or o.kind, 30)}", o.op)
            for o in reversed(is_open)
        ]
        controls.set_options(self.which, names or [("none", "")])
        chosen = next((o for o in is_open if o.op == self.which.value), None)
        # A proposal takes its time to arrive: parties without it cannot vote on it yet.
        missing = voters_missing(lab, chosen) if chosen else ()
        able = [p for p in missing if chosen and p in chosen.standing]
        controls.set_options(self.voter, [(f"party {p}", p) for p in able] or [("nobody", 0)])
        why = closed or (
            "no proposal is open" if not chosen
            else "" if able
            else "parties without a vote have not heard of it" if missing
            else "all votes are in"
        )  # fmt: skip
        for each in (self.which, self.voter, self.reason, self.approve, self.reject):
            controls.gate(each, why)


def _cast(lab: Lab, party: Party, op: str, approve: bool, reason: str) -> str:
    lab.vote(party, op, approve, reason)
    return f"✓ party {party} {'approves' if approve else 'rejects'}"


def _tally(known: list[Operation]) -> str:
    if not known:
        return ""
    counts = Counter("split" if o.split else o.status for o in known)
    words = [f"{counts[s]} {s}" for s in ("committed", "split", "aborted", "expired", "open")]
    return " · ".join(w for w in words if not w.startswith("0 "))


# --- fields of an operation ---------------------------------------------------------------


def parameter_field(parameter: Parameter) -> Any:
    """The widget in which a parameter is typed."""
    words = parameter.name.replace("_", " ").capitalize()
    options = {"tip": parameter.help or words, "name": f"param-{parameter.name}"}
    default = parameter.default
    if isinstance(parameter, Reference):
        return controls.choice(words, [("nothing proposed yet", 0)], width="180px", **options)
    if isinstance(parameter, Text) and parameter.choices:
        value = default if default in parameter.choices else parameter.choices[0]
        return controls.choice(words, parameter.choices, value, **options)
    if isinstance(parameter, Number):
        low, high = parameter.low, min(parameter.high, 2**53)
        start = default if isinstance(default, int) else low
        return controls.number(words, start, low, high, width="110px", **options)
    hint = (
        "1, 2, 3"
        if isinstance(parameter, Numbers)
        else "00ff…"
        if isinstance(parameter, Bytes)
        else parameter.help
    )
    start_text = "hello" if parameter.name == "text" else ""
    if isinstance(default, str):
        start_text = default
    elif isinstance(default, tuple):
        start_text = ", ".join(map(str, default))
    made = controls.text(words, start_text, hint, width="130px", **options)
    made.layout.flex = "1 1 130px"
    return made


def read_field(parameter: Parameter, widget: Any) -> Any:
    """A parameter's value from its widget; the operation checks it."""
    if isinstance(parameter, Numbers):
        return controls.whole_numbers(parameter.name, widget.value)
    return widget.value


# --- the table ----------------------------------------------------------------------------


def proposals(known: list[Operation], state: State, lab: Lab) -> str:
    """The latest proposals, the newest first: votes, what they wait for, how they ended."""
    if not known:
        return theme.empty("Nothing has been proposed yet.")
    numbered = list(enumerate(known, 1))[-_SHOWN:]
    rows = [
        [
            f'<span class="mpclab-num">{number}</span>',
            theme.chip(one.by) if one.by is not None else "",
            f'<b>{theme.escape(one.kind)}</b><br><span class="mpclab-any">'
            f"{theme.escape(style.shorten(_said(one), 60))}</span>",
            _votes(one, lab.group.everyone),
            _standing(one, state, lab),
        ]
        for number, one in reversed(numbered)
    ]
    return theme.table(["#", "by", "what", "votes", "where it stands"], rows)


def outputs(lab: Lab) -> str:
    """What the machines of a protocol of one's own put out, the latest last."""
    told = lab.outputs()
    if not told:
        return theme.empty("Parties run a protocol of your own; it has put nothing out yet.")
    rows = [
        [theme.chip(party), str(len(said)), theme.escape(style.shorten(said[-1], 90))]
        for party, said in told.items()
    ]
    return theme.table(["party", "outputs", "the latest"], rows)


def _said(one: Operation) -> str:
    return one.text.removeprefix(f"{one.kind}: ")


def _votes(one: Operation, parties: Iterable[Party]) -> str:
    cells = []
    everyone = tuple(parties)
    for party in everyone:
        vote = one.votes.get(party)
        if vote is None:
            mark, mood, words = (
                "…",
                "mpclab-small",
                "no vote yet" if one.status == "open" else "no vote",
            )
            mark = "…" if one.status == "open" else "–"
        elif vote.approve:
            mark, mood, words = "✓", "mpclab-good", "approves"
        else:
            mark, mood, words = "✗", "mpclab-bad", f"rejects {vote.reason}".strip()
        cells.append(
            f'<span class="vote" title="party {party}: {theme.escape(words)}">'
            f'{theme.chip(party)}<b class="{mood}" style="margin-left:2px">{mark}</b></span>'
        )
    many = " many" if len(everyone) > 8 else ""
    return f'<div class="mpclab-votes{many}">{"".join(cells)}</div>'


def _standing(one: Operation, state: State, lab: Lab) -> str:
    if one.split:
        return theme.badge("parties disagree", theme.BAD)
    if one.status == "committed":
        done = [p for p, word in one.standing.items() if word in ("executed", "failed")]
        late = [p for p in lab.group.joined if p not in one.commits and _up(state, p)]
        word = "executed" if done else "committed"
        if any(w == "failed" for w in one.standing.values()):
            word = "failed"
        more = ""
        results = sorted(set(one.results.values()))
        if results and word != "committed" and results != [_said(one)]:
            more = f'<div class="mpclab-result">{theme.escape(style.shorten(results[0], 48))}</div>'
        if late:
            more += f'<br><span class="mpclab-small">not yet at {theme.chips(late)}</span>'
        if word != "executed":
            for party, why in sorted(one.untaken.items()):
                more += (
                    f'<br><span class="mpclab-small">{theme.chip(party)} {theme.escape(why)}</span>'
                )
        return f"{theme.badge(word, _MOODS[word])}{more}"
    if one.status == "aborted":
        why = theme.escape(next(iter(one.aborts.values()), ""))
        return f"{theme.badge('aborted', theme.BAD)}<br>{why}"
    if one.status == "expired":
        why = theme.escape(next(iter(one.expiries.values()), ""))
        badge = theme.badge("expired", theme.WARN, "nobody waits any more; it may still commit")
        return f"{badge}<br>{why}"
    missing = voters_missing(lab, one)
    words = f"for {theme.chips(missing)}" if missing else "for the agreement protocol"
    return f"{theme.badge('waiting', theme.WARN)} {words}"


def _up(state: State, party: Party) -> bool:
    return party in state.parties and state.parties[party].life == UP
