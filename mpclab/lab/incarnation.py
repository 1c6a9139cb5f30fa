"""`Incarnation`: all that one start of a party is made from, fixed at that moment.

A party that is started again is another incarnation: it may have joined meanwhile, or vote
otherwise. It makes the same node each time it is asked, so that a recorded one can be replayed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

from mpclab.consensus.registry import agreement as agreement_named
from mpclab.coordinator.session import Session
from mpclab.core.ids import Party, Path
from mpclab.core.machine import Machine
from mpclab.core.node import Coins, Node
from mpclab.crypto.identity import Identity
from mpclab.lab.scenario import Scenario
from mpclab.signaling.client import stored_pins
from mpclab.signaling.events import NO_ENTRY
from mpclab.signaling.party import PartyConfig, build_party
from mpclab.signaling.peer_link import MeshSettings
from mpclab.signaling.tickets import Entry
from mpclab.worlds.base import Stored

SESSION: Path = ("session",)
APP: Path = ("app",)


@dataclass(frozen=True)
class Incarnation:
    """One start of a party; call it to make the node.

    Attributes:
        keys: members' public keys as known then. Those that the party met before, and stored,
            stand against them: a slot belongs to its key.
        entry: what it shows to the server: whose room it is, and its ticket.
        accepted: keys that our user named, which stand against both.
        joined: whether it goes to its session by itself, as it had before.
        votes: how it votes.
        direct: whether this world has data channels.
        private: its own numbers, for computations.
        protocol: makes the machine to run instead of the coordinator.
    """

    scenario: Scenario
    party: Party
    identity: Identity
    keys: Mapping[Party, bytes]
    joined: bool
    votes: str
    direct: bool
    private: tuple[int | Decimal, ...] = field(default=(), repr=False)
    protocol: Callable[[], Machine] | None = None
    accepted: Mapping[Party, bytes] = field(default_factory=dict)
    entry: Entry = NO_ENTRY

    def __call__(self, coins: Coins, stored: Stored) -> Node:
        if self.scenario.mesh == "ready":
            app = self._application(greet=bool(stored))
            n = self.scenario.parties
            return Node(self.party, n, app, coins=coins, at=self.app, stored=stored)
        met = stored_pins(stored.get(("signaling",), {}))
        keys = {**self.keys, **met, **self.accepted, self.party: self.identity.public}
        known = dataclasses.replace(self, keys=keys)
        make = build_party(known._config(), lambda config: known._application(), self.app[0])
        return make(coins, stored)

    @property
    def app(self) -> Path:
        """Where the application runs."""
        return SESSION if self.protocol is None else APP

    def _application(self, *, greet: bool = False) -> Machine:
        if self.protocol is not None:
            return self.protocol()
        s = self.scenario
        return Session(
            s.session,
            s.parties,
            s.threshold,
            s.approval,
            self.identity,
            dict(self.keys),
            agreement=partial(agreement_named(s.agreement), options=s.agreement_options),
            votes=self.votes,
            deadline=s.patience,
            greet=greet,
            private=self.private,
        )

    def _config(self) -> PartyConfig:
        s = self.scenario
        return PartyConfig(
            s.session,
            self.party,
            s.parties,
            s.threshold,
            s.policy,
            self.identity,
            roster=dict(self.keys) if len(self.keys) == s.parties else None,
            join=self.joined,
            mesh=MeshSettings(direct=self.direct),
            agreement=s.agreement if self.protocol is None else "",
            entry=self.entry,
        )
