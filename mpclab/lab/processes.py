"""Parties of a lab that are processes of their own: `lab.spawn(3, process=True)`.

Each is `mpclab party … --attached`, in the same session as the parties of the notebook, with its
key and its store in a folder that nobody else can read. The folder goes when the lab is closed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.crypto.identity import Identity
from mpclab.lab.scenario import Scenario
from mpclab.worlds.base import World

FRAMES_EACH = 1_000_000
"""Frames of a later incarnation are numbered from here on: (sender, id) names one message."""


class ProcessFiles:
    """The keys and stores of one group's parties that are processes."""

    def __init__(self) -> None:
        from tempfile import TemporaryDirectory

        self._folder = TemporaryDirectory(prefix="mpclab-", ignore_cleanup_errors=True)

    def write_key(self, party: Party, identity: Identity) -> Path:
        """A party's key goes into a file; the folder for its store."""
        home = Path(self._folder.name)
        descriptor = os.open(self.key(party), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(identity.export_seed().hex() + "\n")
        return home / f"party-{party}"

    def key(self, party: Party) -> Path:
        return Path(self._folder.name) / f"party-{party}.key"

    def host(
        self,
        world: World,
        scenario: Scenario,
        identities: Mapping[Party, Identity],
        config: Callable[[Party], ProcessConfig],
    ) -> None:
        """Start parties here, each in a process of its own; `config` is asked at each start."""
        from mpclab.worlds.real.processes import WithProcesses

        assert isinstance(world, WithProcesses)

        def command(party: Party, store: Path, incarnation: int) -> Sequence[str]:
            return arguments(
                scenario,
                party,
                config(party),
                key=self.key(party),
                store=store,
                incarnation=incarnation,
            )

        stores = {party: self.write_key(party, who) for party, who in identities.items()}
        world.host_processes(
            {party: (partial(command, party, store), store) for party, store in stores.items()}
        )

    def close(self) -> None:
        """Remove all of it."""
        self._folder.cleanup()


def check_world(world: World, url: str) -> None:
    """Raise `UsageError` unless parties can be processes in `world`, and there is a server."""
    if world.name == "simulated":
        raise UsageError("a simulated party has no process; use world='websocket' or 'webrtc'")
    if not url:
        raise UsageError("a party in a process of its own needs the server first: start_server()")


@dataclass(frozen=True)
class ProcessConfig:
    """The configuration with which an incarnation of a party begins.

    Attributes:
        pins: the members' keys, as far as they are known here.
        joined: whether it had joined its session before.
    """

    url: str
    votes: str
    pins: Mapping[Party, bytes]
    joined: bool


def arguments(
    scenario: Scenario,
    party: Party,
    now: ProcessConfig,
    *,
    key: Path,
    store: Path,
    incarnation: int,
) -> Sequence[str]:
    """The command line of `mpclab` for one incarnation of a party."""
    s = scenario
    written = s.as_fields()["agreement"]
    agreement = written if isinstance(written, str) else json.dumps(written)
    words = [
        "party", now.url, "--attached", "--session", s.session, "--id", str(party),
        "--parties", str(s.parties), "--threshold", str(s.threshold), "--policy", s.policy,
        "--agreement", agreement, "--vote", now.votes, "--key", str(key), "--store", str(store),
        "--first-frame", str(1 + (incarnation - 1) * FRAMES_EACH),
    ]  # fmt: skip
    words += ["--relay"] if s.world == "websocket" else []
    words += [word for plugin in s.plugins for word in ("--plugin", plugin)]
    words += ["--joined"] if now.joined else []
    for other, public in sorted(now.pins.items()):
        words += ["--peer", f"{other}={public.hex()}"] if other != party else []
    return words
