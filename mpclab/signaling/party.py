"""One party of one session: signaling, mesh and the application on top, under one root.

    ()            PartyMachine     this file: spawns the others and passes news between them
    ("signaling",)  Client         talks to the server, knows who is there
    ("mesh",)       Mesh           a link to every other member, or the relay
    ("session",) or ("app",)       the application: a coordinator, or a machine of your own
    ("rows",)       Telling        tells a lab elsewhere of us, or hears of others; if asked to

The application is spawned when every member is reachable, or, where its class says
`starts = "joined"`, right after the server's welcome. It is told of the others by the asks of
`core.peers`: `Introduced` (the key), `PeerUp` and `PeerDown`.

Each start of a party is a new *incarnation*: random bytes and a persisted counter, the epoch. So
nothing sealed or signed in an earlier incarnation counts in this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec

from mpclab.core import notes
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party, Path, check_session_id
from mpclab.core.machine import Ctx, Machine
from mpclab.core.node import Coins, Node
from mpclab.core.peers import AcceptKey, Introduced, PeerDown, PeerUp
from mpclab.core.telling import ROWS, TellRows, WantRows
from mpclab.crypto.identity import PUBLIC_BYTES, Identity
from mpclab.crypto.transcript import digest
from mpclab.signaling.client import Client
from mpclab.signaling.events import (
    NO_ENTRY,
    Absent,
    Arrived,
    ClientSettings,
    GoOffline,
    GoOnline,
    Heard,
    KnowServer,
    Membership,
    Offline,
    Online,
    Present,
    Rejected,
    RelayRequest,
    Say,
)
from mpclab.signaling.mesh import Disband, Mesh, TellServer
from mpclab.signaling.messages import NONCE_BYTES, Rows, Wanted
from mpclab.signaling.peer_link import MeshSettings
from mpclab.signaling.telling import Telling, life_number
from mpclab.signaling.tickets import Entry

Build: TypeAlias = Callable[[Coins, Mapping[Path, Mapping[str, bytes]]], Node]

SIGNALING: Final[Path] = ("signaling",)
MESH: Final[Path] = ("mesh",)


@dataclass(frozen=True, slots=True)
class PartyConfig:
    """The session, and a party's part in it.

    Attributes:
        session: id of the session; `core.ids.new_id` makes one.
        party: this party's id, 1..n.
        n, t, policy: the session's parameters, the same for all members.
        identity: the party's key; it is the party.
        roster: every member's key when known beforehand; None: trust on first use.
        mode: "create" the session, "join" it, or "either".
        agreement: the protocol that all members agree by, by its word; "" leaves it open.
        join: whether to join at the start, or wait for `JoinSession`.
        entry: whose room it is, and our ticket.
    """

    session: str
    party: Party
    n: int
    t: int
    policy: str
    identity: Identity
    roster: Mapping[Party, bytes] | None = None
    mode: str = "either"
    join: bool = True
    client: ClientSettings = field(default_factory=ClientSettings)
    mesh: MeshSettings = field(default_factory=MeshSettings)
    agreement: str = ""
    entry: Entry = NO_ENTRY

    def __post_init__(self) -> None:
        check_session_id(self.session)
        if self.n < 1:
            raise UsageError(f"n: {self.n} parties; use at least 1")
        if not 1 <= self.t <= self.n:
            raise UsageError(
                f"t: a threshold of {self.t} among {self.n} parties; use 1 to {self.n}"
            )
        if not 1 <= self.party <= self.n:
            raise UsageError(f"party: id {self.party} among {self.n} parties; use 1 to {self.n}")
        if self.mode not in ("create", "join", "either"):
            raise UsageError(f"mode: {self.mode!r} is not create, join or either")
        if self.roster is not None and set(self.roster) != set(range(1, self.n + 1)):
            raise UsageError(f"roster: it must name a key for each of the parties 1 to {self.n}")
        if self.roster is not None and self.roster[self.party] != self.identity.public:
            raise UsageError(f"roster: it has another key for party {self.party} than its own")
        if self.roster is not None and len(set(self.roster.values())) < self.n:
            raise UsageError("roster: two parties have one key; one key is one party")


MakeApp: TypeAlias = Callable[[PartyConfig], Machine]

# --- asks ---------------------------------------------------------------------------------


class JoinSession(msgspec.Struct, frozen=True):
    """Ask: take our slot. Also after a refusal, or after having left."""


class HostedServer(msgspec.Struct, frozen=True):
    """Ask: this session has a signaling server at `url` now; go there, and tell the others."""

    url: str


class LeaveSession(msgspec.Struct, frozen=True):
    """Ask: give our slot up and close every link."""


class Tell(msgspec.Struct, frozen=True):
    """Ask: a line of text for one party, through the server."""

    to: Party
    text: str


class Shout(msgspec.Struct, frozen=True):
    """Ask: a line of text for all who are online, through the server."""

    text: str


class WhenRunning(msgspec.Struct, frozen=True):
    """Ask: put `ask` to the application, now or as soon as it runs."""

    ask: Any


# --- outputs ------------------------------------------------------------------------------


class Joined(msgspec.Struct, frozen=True):
    """The server let us in; `created`: we were the first."""

    session: str
    party: Party
    created: bool


class Refused(msgspec.Struct, frozen=True):
    """The server will not have us: why, and what to do. `JoinSession` tries again."""

    reason: str
    hint: str


class Disconnected(msgspec.Struct, frozen=True):
    """The server is gone; links stay, and we shall come back to it."""

    reason: str


class Left(msgspec.Struct, frozen=True):
    """We gave our slot up."""


class Ready(msgspec.Struct, frozen=True):
    """Every other member can be reached, now."""

    peers: tuple[Party, ...]


class Said(msgspec.Struct, frozen=True):
    """A line of text from another party, its signature checked."""

    sender: Party
    text: str
    to_all: bool


class PartyMachine(Machine):
    """The root of a party's machines.

    Args:
        config: the session, and our part in it.
        make_app: makes the application; called once in each incarnation.
        app: its name among our children.
    """

    def __init__(self, config: PartyConfig, make_app: MakeApp, app: str = "app") -> None:
        self.config = config
        self.app_name = app
        self.joined = False
        self.keys: dict[Party, bytes] = {config.party: config.identity.public}
        self.up: dict[Party, str] = {}
        self.online: set[Party] = set()
        self._make_app = make_app
        self._running = False
        self._kept: list[Any] = []  # for the application, once it runs
        self._application: Machine | None = None
        self._life = 0  # its number, in what we tell
        self._tells = False  # or hears
        self._wanted: Wanted | None = None  # what the server that we are at wants of our rows

    @property
    def is_running(self) -> bool:
        """Whether the application has been spawned in this incarnation."""
        return self._running

    def start(self, ctx: Ctx) -> None:
        config = self.config
        epoch = int(ctx.stored.get("epoch", b"0")) + 1
        ctx.persist("epoch", b"%d" % epoch)
        # The epoch makes incarnations differ even where a simulation draws the same coins again.
        incarnation = digest("mpclab presence", ctx.rng.randbytes(NONCE_BYTES), epoch)[:NONCE_BYTES]
        self._life = life_number(incarnation)
        membership = Membership(
            config.session, config.party, config.n, config.t, config.policy, config.identity,
            incarnation, epoch, config.mode, config.agreement, config.entry,
        )  # fmt: skip
        self._application = self._make_app(config)
        ctx.spawn("signaling", Client(membership, config.roster, config.client))
        ctx.spawn("mesh", Mesh(membership, config.mesh))
        if ctx.stored.get("wants-rows"):
            self._tell(ctx, WantRows())
        if config.join:
            ctx.ask("signaling", GoOnline())

    # --- our own user ---------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case JoinSession():
                if self.joined:
                    raise UsageError(f"party {ctx.me} is in session {self.config.session!r}")
                ctx.ask("signaling", GoOnline())
            case LeaveSession():
                ctx.ask("signaling", GoOffline())
                ctx.ask("mesh", Disband())
                self.joined = False
                ctx.output(Left())
            case Tell(to, text):
                if to not in ctx.others:
                    raise UsageError(f"no party {to} to tell; others are {_list(ctx.others)}")
                ctx.ask("signaling", Say(to, text))
            case AcceptKey(party, key):
                if party not in ctx.others or len(key) != PUBLIC_BYTES:
                    raise UsageError(
                        f"a key is {PUBLIC_BYTES} bytes, of one of {_list(ctx.others)}"
                    )
                self.keys[party] = key
                ctx.ask("signaling", ask)
                if self._running:
                    ctx.ask(self.app_name, ask)
            case WhenRunning(wanted):
                if self._running:
                    ctx.ask(self.app_name, wanted)
                else:
                    self._kept.append(wanted)
            case WantRows() | TellRows():
                if isinstance(ask, WantRows):
                    ctx.persist("wants-rows", b"1")
                self._tell(ctx, ask)
            case HostedServer(url):
                ctx.ask("mesh", TellServer(url))
            case Shout(text):
                ctx.ask("signaling", Say(0, text))
            case _:
                raise UsageError(
                    f"a party does not know {type(ask).__name__}; ask {self.app_name!r} for "
                    f"what belongs to the application"
                )

    def _tell(self, ctx: Ctx, ask: WantRows | TellRows) -> None:
        (name,) = ROWS
        if not self._tells:
            self._tells = True
            config = self.config
            ctx.spawn(name, Telling(config.session, config.identity, self._life, self.keys))
            for party in sorted(self.up):
                ctx.ask(name, PeerUp(party, self.up[party]))
            if self._wanted is not None:
                ctx.ask(name, self._wanted)
        ctx.ask(name, ask)

    # --- news from below ------------------------------------------------------------------

    def on_output(self, ctx: Ctx, child: str, value: Any) -> None:
        match value:
            case RelayRequest() | KnowServer():
                ctx.ask("signaling", value)
            case Arrived():
                ctx.ask("mesh", value)
            case Wanted():
                self._wanted = value
                if self._tells:
                    ctx.ask(ROWS[0], value)
            case Rows():
                ctx.ask("signaling", value)
            case PeerUp() | PeerDown() if child == "mesh":
                self._reach(ctx, value)
            case Present(member) if child == "signaling":
                self.online.add(member.party)
                self._introduce(ctx, member.party, member.key)
                ctx.ask("mesh", value)
            case Absent(party):
                self.online.discard(party)
                ctx.ask("mesh", value)
            case Online(created):
                self.joined = True
                ctx.output(Joined(self.config.session, self.config.party, created))
                ctx.ask("mesh", value)
                if getattr(self._application, "starts", "ready") == "joined" or ctx.n == 1:
                    self._run_app(ctx)
                if ctx.n == 1:
                    ctx.output(Ready(()))
            case Offline(reason):
                self.joined = False
                self._wanted = None
                if self._tells:
                    ctx.ask(ROWS[0], PeerDown(SERVER, reason))
                ctx.output(Disconnected(reason))
                ctx.ask("mesh", value)
            case Rejected(reason, hint):
                self.joined = False
                ctx.note(notes.NotAdmitted(reason, hint))
                ctx.output(Refused(reason, hint))
            case Heard(sender, text, to_all):
                ctx.note(notes.Said(sender=sender, text=text, to_all=to_all))
                ctx.output(Said(sender, text, to_all))

    def _introduce(self, ctx: Ctx, party: Party, key: bytes) -> None:
        if party not in self.keys:
            self.keys[party] = key
            if self._running:
                ctx.ask(self.app_name, Introduced(party, key))

    def _reach(self, ctx: Ctx, news: PeerUp | PeerDown) -> None:
        was_ready = len(self.up) == len(ctx.others)
        if isinstance(news, PeerUp):
            self.up[news.party] = news.via
        else:
            self.up.pop(news.party, None)
        ready = len(self.up) == len(ctx.others)
        if self._tells:
            ctx.ask(ROWS[0], news)
        if self._running:
            ctx.ask(self.app_name, news)
        elif ready:
            self._run_app(ctx)
        if ready and not was_ready:
            ctx.output(Ready(ctx.others))

    def _run_app(self, ctx: Ctx) -> None:
        """Spawn the application and tell it all that is known."""
        if self._running or self._application is None:
            return
        self._running = True
        ctx.spawn(self.app_name, self._application)
        self._application = None
        for party in sorted(self.keys):
            if party != ctx.me:
                ctx.ask(self.app_name, Introduced(party, self.keys[party]))
        for party in sorted(self.up):
            ctx.ask(self.app_name, PeerUp(party, self.up[party]))
        for wanted in self._kept:
            ctx.ask(self.app_name, wanted)
        self._kept.clear()


def build_party(config: PartyConfig, make_app: MakeApp, app: str = "app") -> Build:
    """How a world makes a party's node, at first and after each crash."""

    def build(coins: Coins, stored: Mapping[Path, Mapping[str, bytes]]) -> Node:
        root = PartyMachine(config, make_app, app)
        return Node(config.party, config.n, root, coins=coins, carrier=MESH, stored=stored)

    return build


def _list(parties: tuple[Party, ...]) -> str:
    return ", ".join(map(str, parties)) or "nobody"
