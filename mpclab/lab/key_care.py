"""The care of a party's keys by its user: list, back up, restore, delete, import."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any, Protocol

import msgspec

from mpclab.coordinator.messages import DeleteShare, RestoreShare
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party, Path
from mpclab.crypto.identity import Identity
from mpclab.crypto.keys import KeyShare
from mpclab.lab.operation import Operation
from mpclab.lab.replies import Done
from mpclab.mpc.importing import Secret
from mpclab.mpc.nonces import NonceTable
from mpclab.mpc.records import KeyRecord, back_up, open_share, restore, seal_share
from mpclab.operations.key_rules import KEY_KINDS
from mpclab.operations.rules import Rules
from mpclab.worlds.base import World


class Parties(Protocol):
    """A lab's group of parties as we need it."""

    world: World

    @property
    def app(self) -> Path: ...
    def actor(self, party: Party, /) -> Party: ...
    def identity(self, party: Party, /) -> Identity: ...
    def machine_of(self, party: Party, read: Callable[[Any], Any], /) -> Any: ...


class KeyInfo(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """A key as one party knows it.

    Attributes:
        op: the operation that made or last renewed it. `name`: as given at dkg or import.
        public: the public key in hex.
        holds: whether this party holds a share. `rules`: for its use, in words.
        prepared: how many signatures it has nonces for (`nonces`).
    """

    op: str
    name: str
    public: str
    suite: str
    threshold: int
    holders: tuple[Party, ...]
    holds: bool
    rules: str = ""
    prepared: int = 0


def keys(group: Parties, party: Party) -> tuple[KeyInfo, ...]:
    """The keys in use that `party` knows, oldest first."""
    return group.machine_of(party, keys_of) or ()


def keys_of(session: Any) -> tuple[KeyInfo, ...]:
    """`keys`, of a party's session."""
    executor, found = session.executor, {}
    names: dict[bytes, str] = {}
    for op, o in session.ledger.operations.items():
        if op not in executor.results or o.signed is None or o.kind not in KEY_KINDS:
            continue
        record = KeyRecord.from_bytes(executor.results[op].data)
        names.setdefault(record.public, dict(o.params).get("name", ""))
        if executor.succession.successor(op) is None and o.status == "executed":
            holds = any(
                executor.results[other].data == executor.results[op].data
                for other in executor.secrets
            )
            found[record.public] = op, record, holds
    return tuple(
            KeyInfo(
                op, names[public], public.hex(), record.suite, record.threshold, record.holders,
                holds, str(Rules.parse(record.rules)), _prepared(executor, public),
            )
            for public, (op, record, holds) in found.items()
        )  # fmt: skip


def _prepared(executor: Any, public: bytes) -> int:
    tables = {op: NonceTable.parse(executor.results[op].data) for op in executor.fleeting}
    return sum(len(executor.fleeting[op]) for op, t in tables.items() if t and t.key == public)


def export_share(group: Parties, party: Party, op: str, file: FilePath, passphrase: str) -> Done:
    """Write `party`'s share of a key, sealed under a passphrase; see `crypto.backup`."""

    found = group.machine_of(party, lambda session: share_in(session, party, op))
    write_share(found, party, op, file, passphrase)
    return Done(f"party {party}'s share is in {file}")


def share_in(session: Any, party: Party, op: str) -> tuple[KeyRecord, KeyShare] | None:
    """`party`'s share in its session, and what it is a share of."""
    executor = session.executor
    result = executor.results.get(op)
    for other, sealed in executor.secrets.items():
        if result is not None and executor.results[other].data == result.data:
            record = KeyRecord.from_bytes(result.data)
            return record, open_share(session.ledger.identity, record.key(), party, sealed)
    return None


def write_share(
    found: tuple[KeyRecord, KeyShare] | None, party: Party, op: str, file: FilePath, passphrase: str
) -> None:
    """Make the file of `export_share`.

    Raises:
        UsageError: there is no share, the passphrase is too short, or the file cannot be made.
    """
    if found is None:
        raise UsageError(f"operation {op}: party {party} holds no share of such a key")
    record, share = found
    data = back_up(record, share, passphrase, random.SystemRandom())
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error


def restore_share(group: Parties, party: Party, file: FilePath, passphrase: str) -> Done:
    """Give `party` back the share in a file of `export_share`."""
    ask, public = read_share(file, party, passphrase, group.identity(party))
    group.world.ask(group.actor(party), group.app, ask)
    return Done(f"party {party} has its share of {public.hex()[:16]}… again")


def read_share(
    file: FilePath, party: Party, passphrase: str, identity: Identity
) -> tuple[RestoreShare, bytes]:
    """What a session is asked for to have the share in a file of `export_share` again, and the
    public key.

    Raises:
        UsageError: the file does not open, or holds another party's share.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
    record, share = restore(data, passphrase)
    if share.identifier != party:
        raise UsageError(f"{file} holds the share of party {share.identifier}")
    return RestoreShare(record.to_bytes(), seal_share(identity, share)), record.public


def delete_share(group: Parties, party: Party, op: str) -> Done:
    """Have `party` delete its share of a key."""
    group.world.ask(group.actor(party), group.app, DeleteShare(op))
    return Done(f"party {party} deleted its share")


def give_secret(group: Parties, operation: Operation, secret: bytes) -> Done:
    """The whole key, to the machine of the party that proposed to import it."""
    path = (*group.app, f"import-{operation.id}")
    group.world.ask(group.actor(operation.by), path, Secret(secret))
    return Done(f"party {operation.by} deals the key")
