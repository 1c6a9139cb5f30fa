"""`Group`: the parties of one session that live in this lab."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path as FilePath
from typing import Any

from mpclab.coordinator.messages import ForgetFleeting, Propose, SetPrivate, SetVotePolicy, Vote
from mpclab.coordinator.session import Session
from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.machine import Machine
from mpclab.core.node import Coins, Node
from mpclab.core.notes import NotAdmitted
from mpclab.core.numbering import Numbering
from mpclab.core.numbers import Number, number
from mpclab.core.peers import AcceptKey
from mpclab.core.telling import WantRows
from mpclab.core.words import count
from mpclab.crypto.identity import PUBLIC_BYTES, Identity
from mpclab.lab.breaking import Breaking
from mpclab.lab.clients import Clients
from mpclab.lab.incarnation import APP, SESSION, Incarnation
from mpclab.lab.journal import Journal, verb
from mpclab.lab.keys import load_key
from mpclab.lab.operation import Operation
from mpclab.lab.outcome import Outcomes, Progress, Tracker
from mpclab.lab.processes import ProcessConfig, ProcessFiles, check_world
from mpclab.lab.replies import Done
from mpclab.lab.scenario import VOTES, Scenario
from mpclab.operations import OPERATIONS
from mpclab.operations.proposal import operation_id
from mpclab.signaling.client import Client
from mpclab.signaling.events import NO_ENTRY
from mpclab.signaling.party import (
    JoinSession,
    LeaveSession,
    PartyMachine,
    Shout,
    Tell,
    WhenRunning,
)
from mpclab.signaling.tickets import Entry
from mpclab.trace.rows import Linked, Noted, Output
from mpclab.worlds.base import Build, Stored, World
from mpclab.worlds.live import LiveWorld

BY_HAND = "hand"
REACHED = ("confirmed", "relay")


class Group(Breaking):
    """Parties `1..n` of one session, in one world.

    Args:
        world: where they live.
        scenario: n, t, policy, agreement, votes, session id.
        base: party p is the world's actor `base + p`.
        protocol: makes the machine to run instead of the coordinator.
        store: a folder in which parties' keys are kept, so that they are the same tomorrow.
        journal: where what is done to this session is written down.
    """

    def __init__(
        self,
        world: World,
        scenario: Scenario,
        *,
        base: int = 0,
        protocol: Callable[[], Machine] | None = None,
        store: FilePath | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.world = world
        self.journal = Journal() if journal is None else journal
        self.injections = []
        self.store = store
        self.scenario = scenario
        self.base = base
        self.shares = base > 0  # the world, with other sessions
        self.protocol = protocol
        self.app: Path = SESSION if protocol is None else APP
        self.incarnations: dict[Party, list[Incarnation]] = {}
        self.identities: dict[Party, Identity] = {}  # whose secret key we have
        self.given: dict[Party, Identity] = {}  # keys to use instead of generated ones
        self.pinned: dict[Party, bytes] = {}  # keys of parties elsewhere, known beforehand
        self.entries: dict[Party, Entry] = {}  # what parties show to the server's rooms
        self.votes: dict[Party, str] = dict(scenario.votes)
        self.private: dict[Party, tuple[int | Decimal, ...]] = dict(scenario.private)
        self.process_files: ProcessFiles | None = None  # of parties in processes of their own
        self.urls: dict[Party, str] = {}  # where those reach the server, if not as we do
        path = (scenario.session,) if base else ()
        self.tracker = Tracker(world.trace, base, scenario.parties, path, scenario.session)
        self.tracker.here = self.identities.keys
        self.clients = Clients(self)
        self._joined: set[Party] = set()
        self.faulty: frozenset[Party] = frozenset()  # those whose proposals keep no run going
        self._listens: Party = 0  # who of us hears what parties elsewhere tell
        self._expected = 0
        self._attempts = 0
        self._rows_read = 0
        self._refusals: dict[Party, str] = {}
        self._lacking: tuple[Party, Party] | None = None  # a pair that was not connected
        self._server_says: dict[Party, str] = {}  # why a party has no connection to the server
        self._listen()

    # --- who is here ---

    @property
    def called(self) -> str:
        return self.scenario.session

    @property
    def everyone(self) -> tuple[Party, ...]:
        """All parties of the session, here or elsewhere."""
        return tuple(range(1, self.scenario.parties + 1))

    @property
    def present(self) -> tuple[Party, ...]:
        """The parties spawned here that have not left."""
        return tuple(p for p in self.everyone if self.world.hosts(self.base + p))

    @property
    def joined(self) -> tuple[Party, ...]:
        """The parties here that were told to join, and have not left."""
        return tuple(p for p in sorted(self._joined) if self.world.hosts(self.base + p))

    @property
    def numbering(self) -> Numbering:
        """Which of the world's actors its parties are."""
        return Numbering(self.base, self.scenario.parties)

    def actor(self, party: Party) -> Party:
        """The world's number for a party of this session.

        Raises:
            UsageError: it was not spawned here.
        """
        if party not in self.everyone or not self.world.hosts(self.base + party):
            here = ", ".join(map(str, self.present)) or "none yet; call spawn()"
            raise UsageError(f"party {party} is not here; parties here: {here}")
        return self.base + party

    def identity(self, party: Party) -> Identity:
        """A party's key: seeded in the simulated world, else from the operating system, and
        kept where there is a store."""
        if party in self.given:
            self.identities[party] = self.given[party]
        elif party not in self.identities:
            if self.store is not None:
                path = self.store / f"{self.scenario.session}-{party}.key"
                self.identities[party] = load_key(path)
            elif self.world.name == "simulated":
                text = f"mpclab identity {self.scenario.seed} {self.scenario.session} {party}"
                seed = hashlib.sha256(text.encode()).digest()
                self.identities[party] = Identity.from_seed(seed)
            else:
                self.identities[party] = Identity.from_seed(secrets.token_bytes(32))
        return self.identities[party]

    def key_of(self, party: Party) -> bytes:
        """The key of a party here or met by one here; b"": not known yet."""
        if known := self._keys().get(party):
            return known
        for here in self.present:
            actor = self.base + here
            if actor in self.world.actors:
                met: dict[Party, bytes] = self.world.look(actor, _met)
                if party in met:
                    return met[party]
        return b""

    # --- verbs ---

    @verb
    def spawn(self, *parties: Party, votes: str | None = None, process: bool = False) -> Done:
        wanted = parties or tuple(p for p in self.everyone if p not in self.present)
        for party in wanted:
            self._check_member(party)
            if party in self.present:
                raise UsageError(f"party {party} is already here")
        if votes is not None:
            self._check_votes(votes)
        if process:
            check_world(self.world, self.world.server_url)
            if self.base or self.protocol is not None:
                raise UsageError("only the coordinator of a lab's first session can be a process")
        for party in wanted:
            self.identity(party)
            self._joined.discard(party)  # where it went away by a fault
            if votes is not None:
                self.votes[party] = votes
        if process:
            self._host_processes(wanted)
        else:
            for party in wanted:
                self.world.bind_store(self.base + party, self._owner(party))
                self.world.host(self.base + party, self.builder(party))
        self._listen()
        return (
            Done(f"{_parties(wanted)} spawned") if wanted else Done("every party is here already")
        )

    def _owner(self, party: Party) -> dict[str, str]:
        """Whose store it is that a party keeps."""
        s = self.scenario
        return {
            "session": s.session,
            "party": str(party),
            "parties": str(s.parties),
            "key": self.identity(party).public.hex(),
        }

    def _host_processes(self, parties: Sequence[Party]) -> None:
        if self.process_files is None:
            self.process_files = ProcessFiles()
        identities = {party: self.identity(party) for party in parties}
        self.process_files.host(self.world, self.scenario, identities, self._process_config)

    def _process_config(self, party: Party) -> ProcessConfig:
        votes = self.votes.get(party, "approve")
        url = self.urls.get(party, self.world.server_url)
        return ProcessConfig(url, votes, self._keys(), party in self._joined)

    def close(self) -> None:
        """Remove what parties in processes had stored, once they have ended."""
        if self.process_files is not None:
            self.process_files.close()

    @verb
    def join(self, *parties: Party) -> None:
        if not self.present:
            raise UsageError("no party is here; call spawn() first")
        wanted = parties or tuple(p for p in self.present if p not in self.joined)
        actors = [self.actor(party) for party in wanted]
        self._joined.update(wanted)
        for party in wanted:
            self._refusals.pop(party, None)
        if self.scenario.mesh == "negotiated":
            for actor in actors:
                self.world.ask(actor, (), JoinSession())
            self._listen()

    def _listen(self) -> None:
        """Hear what parties elsewhere tell of themselves, where there are such parties: by one of
        ours that joined, or, where none of ours is here to be told, by our server."""
        world = self.world
        if not isinstance(world, LiveWorld) or not world.keeps_rows:
            return
        if self.scenario.mesh != "negotiated":
            return
        elsewhere = len(self.identities) < self.scenario.parties
        here = [p for p in self.present if not self._is_process(p)]
        world.hear_at_server(self.called, self.base, elsewhere and not here)
        joined = [p for p in here if p in self._joined and self.base + p in world.actors]
        if elsewhere and joined and self._listens not in here:
            self._listens = joined[0]
            world.ask(self.actor(joined[0]), (), WantRows())

    @verb
    def leave(self, *parties: Party) -> Done:
        wanted = parties or self.present
        for party in wanted:
            actor = self.actor(party)
            if self.scenario.mesh == "negotiated" and actor in self.world.actors:
                self.world.ask(actor, (), LeaveSession())
            self.world.remove(actor)
            self._joined.discard(party)
        self._listen()
        return Done(f"{_parties(wanted)} left")

    @verb
    def tell(self, sender: Party, to: Party, text: str) -> Done:
        self._needs_server()
        self.world.ask(self.actor(sender), (), Tell(to, text))
        return Done(f"party {sender} tells party {to}: {text}")

    @verb
    def broadcast(self, sender: Party, text: str) -> Done:
        self._needs_server()
        self.world.ask(self.actor(sender), (), Shout(text))
        return Done(f"party {sender} tells everybody: {text}")

    @verb
    def propose(
        self, by: Party, kind: str, params: Mapping[str, Any], patience: int | None = None
    ) -> Operation:
        self._coordinates("propose")
        given: dict[str, Any] = {
            k: v.id if isinstance(v, Operation) else v for k, v in params.items()
        }
        for name in OPERATIONS[kind].references:
            if isinstance(given.get(name), int):
                given[name] = self._numbered(given[name], name)
        self._attempts += 1
        attempt = f"{self.world.now}-{self._attempts}"
        self.world.ask(
            self.actor(by), self.app,
            Propose(kind, given, attempt, patience or self.scenario.patience),
        )  # fmt: skip
        self._expected = max(self._expected, len(self.tracker.follow().operations))
        return Operation(self.outcomes, operation_id(self.scenario.session, by, attempt), kind, by)

    @verb
    def call(
        self, client: int, by: Party, kind: str, params: Mapping[str, Any], timeout: int
    ) -> Done:
        self._coordinates("call")
        self.actor(by)
        self.clients.call(client, by, kind, params, timeout)
        return Done(f"client {client} asks party {by}: {kind}")

    def _numbered(self, number: int, parameter: str) -> str:
        """The id of the `number`-th operation that was proposed, from 1."""
        known = self.outcomes()
        if not 1 <= number <= len(known):
            raise UsageError(
                f"{parameter}: there is no operation {number} yet; {len(known)} were proposed"
            )
        return known[number - 1].op

    @verb
    def vote(self, party: Party, op: str, approve: bool, reason: str) -> Done:
        self._coordinates("vote")
        self.world.ask(self.actor(party), self.app, Vote(op, approve, reason))
        return Done(f"party {party} {'approves' if approve else 'rejects'} {op}")

    @verb
    def set_votes(self, party: Party, votes: str) -> Done:
        self._coordinates("vote")
        self._check_votes(votes)
        self._check_member(party)
        self._tell_app(party, SetVotePolicy(votes))
        self.votes[party] = votes  # what it begins with when it comes back
        return Done(f"party {party} votes from now on: {votes}")

    @verb
    def set_private(self, party: Party, given: tuple[Number, ...]) -> Done:
        self._coordinates("compute")
        from mpclab.mpc.arithmetic import check_private

        values = tuple(map(number, given))
        limits = check_private(values)
        self._check_member(party)
        self._tell_app(party, SetPrivate(values))
        self.private[party] = values
        return Done(
            f"party {party} keeps {count(len(values), 'number')} of its own"
            f"{'; ' if limits else ''}{limits}"
        )

    @verb
    def give(self, party: Party, operation: Operation, given: tuple[Number, ...]) -> Done:
        from mpclab.mpc.compute import Input
        from mpclab.operations import input_path

        path = input_path(operation.kind, operation.id, self.app)
        self.world.ask(self.actor(party), path, Input(tuple(map(number, given))))
        return Done(f"party {party} gave its input")

    def session_of(self, party: Party) -> Any:
        """The view of a party's coordinator: its proposals, votes and history (`Session.view`)."""
        return self.world.look(self.actor(party), partial(_view, path=self.app))

    def machine_of(self, party: Party, read: Callable[[Any], Any]) -> Any:
        """`read(machine)` of the application that runs at a party; None before it runs."""
        return self.world.look(self.actor(party), partial(_read, path=self.app, read=read))

    # --- how far it got ---

    def expect(self, operations: int) -> None:
        """So many operations will have been proposed before this group counts as settled."""
        self._expected = operations

    def expect_one_less(self) -> None:
        """A planned proposal could not be made."""
        self._expected -= 1

    def settled(self) -> bool:
        """Whether every client's call has ended, and every operation at every party that is up, or
        has expired where nothing is left to happen: no message is on its way, nobody waits."""
        if not self.clients.idle:
            return False
        taking_part = self.joined if self.scenario.mesh == "negotiated" else self.present
        taking_part = (*taking_part, *self.tracker.elsewhere)
        progress = self.tracker.progress(taking_part, self._expected, self.faulty)
        return progress is Progress.SETTLED or (
            progress is Progress.EXPIRED and self.world.is_idle()
        )

    def outcomes(self) -> Outcomes:
        return self.tracker.outcomes(self.everyone)

    def outputs(self) -> dict[Party, list[str]]:
        """The outputs of the machines at the top of the parties' applications, as text."""
        found: dict[Party, list[str]] = {}
        for row in self.world.trace.of(Output):
            if row.path == self.app and row.actor - self.base in self.everyone:
                found.setdefault(row.actor - self.base, []).append(row.text)
        return dict(sorted(found.items()))

    def connected(self) -> bool:
        """Whether everyone who was told to join is in, and connected to all that are here.

        Raises:
            UsageError: the server refused one of them.
        """
        if self.scenario.mesh == "ready":
            return True
        self._read_refusals()
        for party, text in self._refusals.items():
            raise UsageError(f"party {party} was refused: {text}")
        self._lacking = next(self._missing_pairs(self._lacking), None)
        if self._lacking is not None:
            return False
        return all(self._is_in(p) for p in self.joined) if len(self.joined) == 1 else True

    def explain_unready(self) -> str:
        """Why `join` gave up waiting."""
        pairs = list(self._missing_pairs())
        if self._server_says:
            whom, why = next(iter(self._server_says.items()))
            where = self.world.server_url
            return f"party {whom} is not connected to the signaling server at {where}: {why}"
        if not pairs:
            return f"{_parties(self.joined)} could not join: the signaling server says nothing"
        shown = ", ".join(f"{a}–{b}" for a, b in pairs[:6]) + (" …" if len(pairs) > 6 else "")
        changed = tuple(sorted({q for p in self.joined for q in self._met_otherwise(p)}))
        why = (
            f"{_parties(changed)} came with another key than the others stored; "
            f"accept_key({changed[0]}) lets it in"
            if changed
            else "Look at the topology, heal what is broken, or wait on with run(limit=…)"
        )
        slow = self.world.slowness()
        return f"these pairs are not connected yet: {shown}{slow}. {why}"

    def _met_otherwise(self, party: Party) -> list[Party]:
        """Parties here that have another key than the one that `party` knows them by."""

        def read(node: Node) -> dict[Party, bytes]:
            client = node.machine(("signaling",))
            return dict(client.pins) if isinstance(client, Client) else {}

        if self._is_process(party):
            return []  # it cannot be looked into, and says for itself whom it refused
        pins = self.world.look(self.actor(party), read)
        here = {q: identity.public for q, identity in self.identities.items()}
        return [q for q, pin in pins.items() if here.get(q, pin) != pin]

    def say_members(self) -> str:
        if self.scenario.mesh == "ready":
            return f"{_parties(self.present)} ready, every pair connected"
        n = len(self.joined)
        session = f"session {self.scenario.session!r}"
        if n < self.scenario.parties:
            missing = self.scenario.parties - n
            return f"{_parties(self.joined)} in {session}, which waits for {missing} more"
        lacking = sum(1 for _ in self._missing_pairs())
        if lacking:
            pairs = n * (n - 1) // 2
            talk = f"{pairs - lacking} of {pairs} pairs can talk"
            return f"{_parties(self.joined)} join {session}; {talk}"
        kinds = {self._link(a, b) for a in self.joined for b in self.joined if a < b}
        how = {"confirmed": "by data channel", "relay": "through the server, sealed"}
        by = " or ".join(how[k] for k in sorted(kinds) if k in how)
        return f"{_parties(self.joined)} in {session}, every pair connected {by}".rstrip()

    # --- inside ---

    def forget_fleeting(self) -> None:
        """Have the parties drop what they keep in memory alone, such as prepared nonces, because
        copies of them go another way: what may be used once must not be used there and here."""
        if self.protocol is None and any(map(self._keeps_fleeting, self.present)):
            self._forget_fleeting()

    @verb
    def _forget_fleeting(self) -> None:
        for party in filter(self._keeps_fleeting, self.present):
            self.world.ask(self.actor(party), self.app, ForgetFleeting())

    def _keeps_fleeting(self, party: Party) -> bool:
        if self.base + party not in self.world.actors:
            return False
        return bool(self.machine_of(party, _fleeting))

    def _tell_app(self, party: Party, ask: Any) -> None:
        """Put `ask` to a party's coordinator, now or when it runs; nothing for one that is down,
        which learns it when it comes back."""
        if party not in self.present or self.base + party not in self.world.actors:
            return
        if self.scenario.mesh == "ready":
            self.world.ask(self.actor(party), self.app, ask)
        else:
            self.world.ask(self.actor(party), (), WhenRunning(ask))

    def _link(self, one: Party, other: Party) -> str:
        return self.tracker.follow().link(self.base + one, self.base + other)

    def _missing_pairs(
        self, first: tuple[Party, Party] | None = None
    ) -> Iterator[tuple[Party, Party]]:
        """The pairs that are not connected yet; `first` before the others, if it is one: who asks
        again and again whether there is any need not look through all that are."""
        links = self.tracker.follow().links
        actors = set(self.world.actors)
        up = [p for p in self.joined if self.base + p in actors]

        def lacks(a: Party, b: Party) -> bool:
            return not (
                links.get((self.base + a, self.base + b)) in REACHED
                and links.get((self.base + b, self.base + a)) in REACHED
            )

        if first is not None and {*first} <= {*up} and lacks(*first):
            yield first
        for i, a in enumerate(up):
            for b in up[i + 1 :]:
                if lacks(a, b) and (a, b) != first:
                    yield a, b

    def _is_process(self, party: Party) -> bool:
        return self.base + party in getattr(self.world, "processes", ())

    def _is_in(self, party: Party) -> bool:
        if self._is_process(party):  # a process cannot be looked into: its rows have to do
            return bool(self.tracker.follow().links.get((self.base + party, SERVER)))
        return bool(self.world.look(self.actor(party), _has_joined))

    def _read_refusals(self) -> None:
        rows = self.world.trace.rows
        while self._rows_read < len(rows):
            row = rows[self._rows_read]
            self._rows_read += 1
            party = row.actor - self.base
            if type(row) is Linked and row.peer == SERVER:
                if row.state == "closed":
                    self._server_says[party] = row.detail or "connection lost"
                elif row.state == "open":
                    self._server_says.pop(party, None)
            elif type(row) is Noted and isinstance(refused := row.note, NotAdmitted):
                if party in self._joined:
                    self._joined.discard(party)
                    hint = f"; {refused.hint}" if refused.hint else ""
                    self._refusals[party] = refused.reason + hint

    def arrived(self, party: Party) -> None:
        """A party came as it was elsewhere, and is in the session."""
        self._joined.add(party)

    def builder(self, party: Party) -> Build:
        """What makes a party's node."""
        return partial(_build, self, party)

    @verb
    def accept_key(self, party: Party, key: bytes | None) -> Done:
        if key is None:
            key = self.identity(party).public if party in self.identities else b""
        if party not in self.everyone or len(key) != PUBLIC_BYTES:
            raise UsageError(f"name one of the parties 1 to {self.scenario.parties}, and its key")
        self.pinned[party] = key
        for other in self.present:
            if other != party and self.scenario.mesh == "negotiated":
                self.world.ask(self.actor(other), (), AcceptKey(party, key))
        return Done(f"party {party} has the key {key.hex()[:16]}… from now on")

    def _keys(self) -> dict[Party, bytes]:
        return {**self.pinned, **{p: i.public for p, i in self.identities.items()}}

    def build(self, party: Party, coins: Coins, stored: Stored) -> Node:
        """A party's node, at first and after each crash: the next of its incarnations."""
        incarnation = Incarnation(
            self.scenario,
            party,
            self.identity(party),
            self._keys(),
            joined=party in self._joined,
            votes=self.votes.get(party, "approve"),
            direct=self.world.name != "websocket",
            private=self.private.get(party, ()),
            protocol=self.protocol,
            accepted=dict(self.pinned),
            entry=self.entries.get(party, NO_ENTRY),
        )
        self.incarnations.setdefault(party, []).append(incarnation)
        return incarnation(coins, stored)

    def _check_member(self, party: Party) -> None:
        if party not in self.everyone:
            raise UsageError(f"party {party!r}: use 1 to {self.scenario.parties}")

    def _check_votes(self, votes: str) -> None:
        known = (*VOTES, BY_HAND)
        if votes not in known:
            raise UsageError(f"votes: {votes!r} is not known{nearest(votes, known)}")

    def _coordinates(self, verb: str) -> None:
        if self.protocol is not None:
            raise UsageError(f"this lab runs a protocol of its own; there is nothing to {verb}")

    def _needs_server(self) -> None:
        if self.scenario.mesh == "ready":
            raise UsageError("mesh: ready has no signaling server to carry messages")


def _build(group: Group, party: Party, coins: Coins, stored: Stored) -> Node:
    return group.build(party, coins, stored)


def _has_joined(node: Node) -> bool:
    root = node.machine(())
    return isinstance(root, PartyMachine) and root.joined


def _view(node: Node, path: Path) -> Any:
    session = node.machine(path)
    return session.view() if isinstance(session, Session) else None


def _read(node: Node, path: Path, read: Callable[[Any], Any]) -> Any:
    machine = node.machine(path)
    return read(machine) if machine is not None else None


def _fleeting(session: Any) -> bool:
    return isinstance(session, Session) and session.executor.keeps_fleeting


def _parties(parties: tuple[Party, ...]) -> str:
    if not parties:
        return "nobody"
    if len(parties) == 1:
        return f"party {parties[0]}"
    if not parties:
        return "nobody"
    if parties == tuple(range(parties[0], parties[-1] + 1)) and len(parties) > 2:
        return f"parties {parties[0]}–{parties[-1]}"
    return f"parties {', '.join(map(str, parties))}"


def _met(node: Node) -> dict[Party, bytes]:
    root = node.machine(())
    return dict(root.keys) if isinstance(root, PartyMachine) else {}
