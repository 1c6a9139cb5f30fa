"""A party that is not running: its keys are listed, backed up, restored and deleted in its store.
While it runs they can be listed and backed up; it would not hear of a change, and undo it.

Its session is made anew from the store, as after a restart, and asked; what it would store is
stored, and nothing is sent. Of other machines nothing is taken up.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any

from mpclab.coordinator.messages import DeleteShare
from mpclab.coordinator.policy import parse_policy
from mpclab.coordinator.session import Session
from mpclab.core.effects import Asked, Effect, Persist, Started
from mpclab.core.errors import UsageError
from mpclab.core.ids import Path
from mpclab.core.node import Node
from mpclab.lab.key_care import KeyInfo, keys_of, read_share, share_in, write_share
from mpclab.lab.keys import load_key
from mpclab.worlds.real.store import SqliteStore

AT: Path = ("session",)


class PartyAtRest:
    """One party's store, open.

    Args:
        store: the folder that the party keeps its state in.
        key: the file with its identity key; by default the one beside the store.

    Attributes:
        is_running: whether the party has its store open.

    Raises:
        UsageError: there is no such store, it is damaged, or the key is not this party's.
    """

    def __init__(
        self, store: FilePath, session: str, party: int, key: FilePath | None = None
    ) -> None:
        file = store / f"{session}-{party}.sqlite"
        if not file.exists():
            raise UsageError(f"{file}: no such store{_others(store)}")
        self.party = party
        self._store = SqliteStore(file)
        try:
            self.is_running = self._store.is_open_elsewhere()
            owner = self._store.owner
            key = key or store / f"{session}-{party}.key"
            if not key.exists():
                raise UsageError(f"{key}: no such key; name the file that it is in")
            self.identity = load_key(key)
            if self.identity.public.hex() != owner.get("key"):
                raise UsageError(f"{key} holds another key than that of the party in {file}")
            self._node = self._taken_up(session, int(owner["parties"]))
        except (UsageError, KeyError, ValueError) as error:
            self._store.close()
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"{file} does not say whose it is") from None

    def _taken_up(self, session: str, n: int) -> Node:
        policy = parse_policy("unanimous", n)
        machine = Session(session, n, 1, policy, self.identity, votes="silent")
        items: dict[Path, dict[str, bytes]] = {AT: self._store.load().get(AT, {})}
        coins = random.SystemRandom()
        node = Node(self.party, n, machine, coins=lambda path: coins, at=AT, stored=items)
        node.step(Started(), 0)  # what it would do now, it does when it runs again
        return node

    @property
    def _session(self) -> Any:
        return self._node.machine(AT)

    def known_keys(self) -> tuple[KeyInfo, ...]:
        """As `lab.keys`."""
        return keys_of(self._session)

    def find(self, name: str) -> str:
        """The operation by which a key goes that is named by it, or as given at dkg.

        Raises:
            UsageError: no key goes by that.
        """
        known = self.known_keys()
        for info in known:
            if name in (info.op, info.name, info.public):
                return info.op
        listed = ", ".join(info.name or info.op for info in known) or "none"
        raise UsageError(f"{name!r}: no such key; this party knows {listed}")

    def export_share(self, key: str, file: FilePath, passphrase: str) -> None:
        """As `lab.export_share`."""
        op = self.find(key)
        found = share_in(self._session, self.party, op)
        write_share(found, self.party, op, file, passphrase)

    def restore_share(self, file: FilePath, passphrase: str) -> str:
        """As `lab.restore_share`; the public key in hex."""
        self._must_rest()
        ask, public = read_share(file, self.party, passphrase, self.identity)
        self._ask(ask)
        return public.hex()

    def delete_share(self, key: str) -> None:
        """As `lab.delete_share`."""
        self._must_rest()
        self._ask(DeleteShare(self.find(key)))

    def _must_rest(self) -> None:
        if self.is_running:
            raise UsageError(
                f"party {self.party} is running, and would not hear of it: end it first"
            )

    def _ask(self, ask: Any) -> None:
        effects: list[Effect] = list(self._node.step(Asked(AT, ask), 0))
        for effect in effects:
            if isinstance(effect, Persist):
                self._store.put(effect.path, effect.key, effect.value)

    def close(self) -> None:
        self._store.close()


@contextmanager
def at_rest(
    store: FilePath, session: str, party: int, key: FilePath | None = None
) -> Iterator[PartyAtRest]:
    """`PartyAtRest`, closed afterwards."""
    found = PartyAtRest(store, session, party, key)
    try:
        yield found
    finally:
        found.close()


def _others(store: FilePath) -> str:
    there = sorted(file.stem for file in store.glob("*-*.sqlite")) if store.is_dir() else []
    return f"; there {'are' if len(there) > 1 else 'is'} {', '.join(there)}" if there else ""
