"""One party in a browser tab: what its page may ask, and what the page is shown.

The page and this side speak JSON. `Tab.command` takes `{"do": …}` and answers `{"ok": …}` or
`{"error": …}`; what is to be shown goes to the page by itself, as one `state`, at most so often.
The party itself is that of a lab: the same `Group`, the same machines.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from mpclab.consensus.registry import AGREEMENTS
from mpclab.coordinator.views import SessionView
from mpclab.core.effects import Asked
from mpclab.core.errors import MpclabError, UsageError
from mpclab.core.ids import SECOND, SERVER, Party
from mpclab.crypto.backup import seal, unseal
from mpclab.crypto.errors import SealError
from mpclab.crypto.identity import Identity
from mpclab.faults.plan import inject, parse_fault
from mpclab.lab import key_care
from mpclab.lab.group import BY_HAND, Group
from mpclab.lab.scenario import Scenario
from mpclab.mpc.exports import SignatureRecord
from mpclab.operations import OPERATIONS
from mpclab.signaling.events import TryNow
from mpclab.signaling.party import SIGNALING
from mpclab.signaling.rooms import build_server
from mpclab.signaling.status import RoomsSettings
from mpclab.signaling.tickets import Entry
from mpclab.trace.rows import Blamed, Linked, Noted
from mpclab.trace.tail import TailTrace
from mpclab.view.feed import Feed
from mpclab.web import shown as shown_as
from mpclab.worlds.browser import BrowserWorld, Page
from mpclab.worlds.browser.store import name_of, take_up

SHOW_EVERY: Final = 0.06
"""Seconds between two states for the page, at least."""
VOTE_WITHIN: Final = 600 * SECOND
"""The time for votes on what is proposed here: people have to read it, and find their phones."""
_KEPT_ROWS: Final = 20_000
_FLOW_ROWS: Final = 30_000
_LABEL: Final = "mpclab party of a tab"
_ITS_BROWSERS: Final = ("url", "ice", "relay_only")  # fields of the form, which do not move with it
_NEWEST: Final = 60  # operations and blames that the page is shown


@dataclass(frozen=True)
class _Place:
    """The session, and a party's part in it, as the page's form has them."""

    session: str
    party: Party
    parties: int
    threshold: int
    policy: str
    agreement: str
    url: str
    tells: bool
    ice: tuple[dict[str, str], ...]
    relay_only: bool
    ticket: str

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> _Place:
        try:
            return cls(
                str(given["session"]),
                int(given["party"]),
                int(given["parties"]),
                int(given["threshold"]),
                str(given.get("policy") or "unanimous"),
                str(given.get("agreement") or "direct"),
                str(given.get("url") or ""),
                given.get("tell") == "yes",
                tuple({str(k): str(v) for k, v in one.items()} for one in given.get("ice") or ()),
                given.get("relay_only") is True,
                str(given.get("ticket") or "").strip(),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(f"the form is not complete: {error}") from None


class Tab:
    """A tab's Python side.

    Args:
        page: performs verbs; besides those of a world, `state` (JSON to show) and `flow` (a chunk
            for the diagram).
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self.world = BrowserWorld(
            page, on_step=self._changed, trace=TailTrace(_KEPT_ROWS, deliveries=True)
        )
        self._group: Group | None = None
        self._me: Party = 0  # of the party that is, or was, here
        self._form = "{}"
        self._tells = False
        self._feed: Feed | None = None
        self._feed_until = 0
        self._due = False
        self._rows_read = 0
        self._blames: list[dict[str, Any]] = []
        self._refused = ""
        self._server_says = ""

    # --- what the page asks -------------------------------------------------------------------

    def command(self, text: str) -> str:
        """Do what the page asks, and answer."""
        try:
            given = json.loads(text)
            act = _COMMANDS.get(given.get("do"))
            if act is None:
                raise UsageError(f"a tab cannot {given.get('do')!r}")
            return json.dumps({"ok": act(self, given)})
        except MpclabError as error:
            return json.dumps({"error": str(error)})
        finally:
            self._changed()

    def start(self, text: str, seed: Any, kept: Iterable[tuple[str, Any]] | None) -> str:
        """Be a party: `text` is the form, `seed` the identity's, `kept` what the database had, by
        name; None: nothing is to be kept. Bytes may be the page's."""
        try:
            place = _Place.read(json.loads(text))
            scenario = Scenario(
                world="webrtc",
                session=place.session,
                parties=place.parties,
                threshold=place.threshold,
                policy=place.policy,
                agreement=place.agreement,
            )
            identity = Identity.from_seed(_bytes(seed))
            items = None if kept is None else {name: _bytes(value) for name, value in kept}
            world = self.world
            kept_items = None if items is None else take_up(items)
            world.enter(place.url, kept_items, place.ice, relay_only=place.relay_only)
            if self._me:  # this tab was another party before: the rows of that one are over
                world.renew(TailTrace(_KEPT_ROWS, deliveries=True))
                self._rows_read, self._blames, self._refused, self._server_says = 0, [], "", ""
            group = Group(world, scenario)
            group.given[place.party] = identity
            group.entries[place.party] = Entry(ticket=place.ticket)
            group.spawn(place.party, votes=BY_HAND)
            group.join(place.party)
        except MpclabError as error:
            return json.dumps({"error": str(error)})
        self._group, self._me, self._form = group, place.party, text
        self._tells = place.tells
        self._begin_flow()
        self._changed()
        return json.dumps({"ok": {"public": identity.public.hex()}})

    def accept(self) -> int:
        """A client of the server here: its number."""
        return self.world.accepted()

    def told(self, what: str, number: int, *rest: Any) -> None:
        """Something happened to a link of the page: see `BrowserWorld`."""
        happen: dict[str, Callable[..., None]] = {
            "opened": self.world.opened,
            "closed": self.world.closed,
            "received": self.world.received,
            "described": self.world.described,
            "carried": lambda n, data: self.world.carried(n, _bytes(data)),
            "greeted": self.world.greeted,
        }
        happen[what](number, *rest)

    @property
    def group(self) -> Group:
        if self._group is None:
            raise UsageError("this tab is in no session")
        return self._group

    def _propose(self, given: Mapping[str, Any]) -> Any:
        kind = str(given["kind"])
        if kind not in OPERATIONS:
            raise UsageError(f"operation {kind!r} is not known")
        params = shown_as.read_params(kind, given.get("params", {}))
        return self.group.propose(self._me, kind, params, VOTE_WITHIN).id

    def _vote(self, given: Mapping[str, Any]) -> Any:
        op, approve = str(given["op"]), bool(given["approve"])
        self.group.vote(self._me, op, approve, str(given.get("reason", "")))

    def _wake(self, given: Mapping[str, Any]) -> Any:
        """The page was asleep, or has a network again: look for the server now."""
        if self._group is not None and self._me in self.world.actors:
            self.world.alive(self._me).feed(Asked(SIGNALING, TryNow()))

    def _leave(self, given: Mapping[str, Any]) -> Any:
        self.group.leave(self._me)
        self._group, self._feed = None, None

    def _private(self, given: Mapping[str, Any]) -> Any:
        """Our own numbers, for computations."""
        words = str(given["numbers"]).replace(";", " ").replace(",", " ").split()
        try:
            numbers = [Decimal(word) for word in words]
        except InvalidOperation:
            raise UsageError("not a number: write whole or decimal ones, with spaces") from None
        self.group.set_private(self._me, tuple(numbers))

    def _say(self, given: Mapping[str, Any]) -> Any:
        self.group.broadcast(self._me, str(given["text"]))

    def _accept_key(self, given: Mapping[str, Any]) -> Any:
        self.group.accept_key(int(given["party"]), bytes.fromhex(str(given["key"])))

    def _fault(self, given: Mapping[str, Any]) -> Any:
        """Let something go wrong here: a fault as a scenario names it."""
        inject(parse_fault(given["fields"], self.group.scenario.parties), self.world)

    def _export(self, given: Mapping[str, Any]) -> Any:
        """All of this party under a passphrase, in base64: form, key, and what it stored."""
        kept = self.world.kept(self._me)
        form = {k: v for k, v in json.loads(self._form).items() if k not in _ITS_BROWSERS}
        content = {
            "place": form,
            "seed": self.group.identity(self._me).export_seed().hex(),
            "items": {name_of(path, key): value.hex()
                      for path, items in kept.items() for key, value in items.items()},
        }  # fmt: skip
        try:
            secret = json.dumps(content, separators=(",", ":")).encode()
            made = seal(str(given["passphrase"]), _LABEL, secret, random.SystemRandom())
        except ValueError as error:
            raise UsageError(str(error)) from None
        return base64.b64encode(made).decode()

    def opened(self, data: Any, passphrase: str) -> str:
        """What `export` sealed, for the page's database: place, seed and items."""
        try:
            return json.dumps({"ok": json.loads(unseal(passphrase, _LABEL, _bytes(data)))})
        except SealError as error:
            return json.dumps({"error": str(error)})

    def _serve(self, given: Mapping[str, Any]) -> Any:
        settings = RoomsSettings(rate=2_000, burst=4_000, ping_every=2 * SECOND)
        return self.world.host_server(build_server(settings), str(given["name"]))

    def _stop_serving(self, given: Mapping[str, Any]) -> Any:
        self.world.stop_server()

    def _files(self, given: Mapping[str, Any]) -> Any:
        """The files of a signature, by name, in base64."""
        view = self._view()
        if view is None:
            raise UsageError("there is no signature yet")
        try:
            record = SignatureRecord.from_bytes(view[str(given["op"])].data)
        except KeyError:
            raise UsageError("there is no such operation") from None
        return {name: base64.b64encode(data).decode() for name, data in record.files().items()}

    def _kinds(self, given: Mapping[str, Any]) -> Any:
        """What can be proposed, with the fields of each form; the agreement protocols."""
        return {
            "operations": {
                name: {"parameters": [shown_as.field(p) for p in spec.parameters]}
                for name, spec in OPERATIONS.items()
            },
            "agreements": {name: agreement.title for name, agreement in AGREEMENTS.items()},
        }

    # --- what the page is shown ---------------------------------------------------------------

    def _changed(self) -> None:
        if not self._due:
            self._due = True
            self.world.loop.call_later(SHOW_EVERY, self._show)

    def _show(self) -> None:
        self._due = False
        self._read_rows()
        if self._tells and self._me in self.world.actors:
            self.world.tell(self._me)
        self._page.perform("state", 0, json.dumps(self.state(), separators=(",", ":")))
        if self._feed is not None and self._rows_read > self._feed_until:
            self._begin_flow()
        if self._feed is not None and (chunk := self._feed.read()) is not None:
            self._page.perform("flow", 0, "", chunk)

    def _begin_flow(self) -> None:
        """Begin the diagram, anew where it has grown so much that nobody reads it to the end."""
        scenario = self.group.scenario
        title = f"session {scenario.session}, as party {self._me} saw it"
        everyone = range(1, scenario.parties + 1)
        self._feed = Feed(self.world.trace, title=title, parties=everyone)
        self._feed_until = len(self.world.trace.rows) + _FLOW_ROWS
        self._page.perform("flow", 0, "begin")

    def _read_rows(self) -> None:
        rows = self.world.trace.rows
        while self._rows_read < len(rows):
            row = rows[self._rows_read]
            self._rows_read += 1
            match row:
                case Blamed(at, actor, _, party, reason, strength) if actor == self._me:
                    blame = {"at": at, "party": party, "reason": reason, "strength": strength}
                    self._blames = [*self._blames[-_NEWEST:], blame]
                case Linked(_, actor, peer, state, _, detail) if (actor, peer) == (
                    self._me,
                    SERVER,
                ):
                    self._server_says = detail if state == "closed" else ""
                case Noted(_, actor, _, note) if actor == self._me:
                    if type(note).__name__ == "NotAdmitted":
                        self._refused = f"{note.reason}; {note.hint}"  # type: ignore[union-attr]

    def state(self) -> dict[str, Any]:
        """Everything that the page shows, as plain data."""
        shown: dict[str, Any] = {
            "failure": str(self.world.failures[-1]) if self.world.failures else "",
            "serving": self._serving(),
        }
        if self._group is None or self._me not in self.world.actors:
            return shown
        scenario = self._group.scenario
        shown |= {
            "me": self._me,
            "session": scenario.session,
            "parties": scenario.parties,
            "threshold": scenario.threshold,
            "policy": scenario.policy,
            "agreement": scenario.agreement,
            "server": self.world.server_url,
            "refused": self._refused,
            "server_says": self._server_says,
            "blames": self._blames,
            **self.world.look(self._me, shown_as.people),
        }
        view = self._view()
        shown["running"] = view is not None
        if view is not None:
            shown |= {
                "operations": [shown_as.operation(o) for o in view.operations[-_NEWEST:]],
                "history": [
                    {"index": e.index, "op": e.op, "kind": e.kind, "by": e.by, "text": e.text,
                     "head": e.head}
                    for e in view.history[-_NEWEST:]
                ],
                "head": view.head,
                "keys": [
                    {"op": k.op, "name": k.name, "public": k.public, "suite": k.suite,
                     "threshold": k.threshold, "holders": k.holders, "holds": k.holds}
                    for k in key_care.keys(self._group, self._me)
                ],
            }  # fmt: skip
        return shown

    def _view(self) -> SessionView | None:
        view: SessionView | None = self.group.session_of(self._me)
        return view

    def _serving(self) -> dict[str, Any] | None:
        if SERVER not in self.world.actors:
            return None
        status = self.world.look(SERVER, shown_as.rooms_status)
        assert isinstance(status, dict)
        return {"url": self.world.server_url, **status}


_COMMANDS: Final[dict[str, Callable[[Tab, Mapping[str, Any]], Any]]] = {
    "propose": Tab._propose,
    "vote": Tab._vote,
    "private": Tab._private,
    "leave": Tab._leave,
    "wake": Tab._wake,
    "say": Tab._say,
    "accept-key": Tab._accept_key,
    "serve": Tab._serve,
    "stop-serving": Tab._stop_serving,
    "files": Tab._files,
    "kinds": Tab._kinds,
    "fault": Tab._fault,
    "export": Tab._export,
}


def _bytes(data: Any) -> bytes:
    """Bytes that may be an array of the page's."""
    copied: bytes = data if isinstance(data, bytes) else data.to_bytes()
    return copied
