"""Which kinds of message a run can have: what a fault's `messages` may name.

A misspelt kind, or one that the chosen protocol never sends, would make a fault that does nothing
and a run that says "ok". So it is refused before anything runs, as is a lie about messages that
cannot be said otherwise.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from importlib import import_module

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.registry import AGREEMENTS, WRONG, agreement
from mpclab.coordinator import stories
from mpclab.coordinator.session import Session
from mpclab.core.errors import UsageError, nearest
from mpclab.core.machine import Machine
from mpclab.core.wire import Message
from mpclab.faults.fault import Fault
from mpclab.operations import OPERATIONS

_LINKS = ("mpclab.signaling", "mpclab.core.pieces")


def spoken_by(machine: type[Machine]) -> dict[str, type[Message]]:
    """The messages that machines of this class send each other, by kind."""
    types = machine._message_types()
    classes = typing.get_args(types) or (types,)
    return {cls.__name__: cls for cls in classes if cls is not Message}


def check_messages(fault: Fault, protocol: str, where: str) -> None:
    """Raise `UsageError` when `fault` names a kind of message that it can never act on.

    Args:
        protocol: the word of the agreement protocol that the run will have.
        where: the field to name, such as `faults[2].messages`.
    """
    kinds: tuple[str, ...] = getattr(fault, "messages", None) or ()
    chosen = agreement(protocol)
    attack: str = getattr(fault, "name", "") if fault.kind == "attack" else ""
    if attack and attack not in chosen.attacks:
        near = nearest(attack, chosen.attacks)
        field = where.replace(".messages", ".name")
        raise UsageError(f"{field}: {attack!r} is not a known attack on {protocol}{near}")
    mine = spoken_by(chosen)
    session = {kind: cls for kind, cls in spoken_by(Session).items() if _sent(chosen, kind)}
    spoken = all(kind in mine or kind in session for kind in kinds)
    known = {} if spoken else _every_kind()
    for kind in kinds:
        if kind in mine or kind in session:
            continue
        if kind not in known:
            near = nearest(kind, {*mine, *session} or known)
            raise UsageError(f"{where}: {kind!r} is not a kind of message{near}")
        others = [w for w, cls in {**AGREEMENTS, **WRONG}.items() if kind in spoken_by(cls)]
        if others or kind in spoken_by(Session):
            whose = f"; {others[0]} does" if others else ""
            near = nearest(kind, {*mine, *session})
            raise UsageError(f"{where}: {protocol} never sends {kind}{whose}{near}")
        if fault.byzantine and known[kind].__module__.startswith(_LINKS):
            raise UsageError(
                f"{where}: {kind} serves links and the server, and no adversary touches it"
            )
    fixed = {cls.__name__ for cls in chosen.unvaried} | (session.keys() - _varied())
    if getattr(fault, "restates", False) and kinds and fixed.issuperset(kinds):
        can = nearest(kinds[0], {*mine, *session} - fixed)
        raise UsageError(f"{where}: {', '.join(kinds)} cannot be said otherwise{can}")


def _sent(protocol: type[Agreement], kind: str) -> bool:
    """Whether sessions send it: where the vote is inside the protocol they broadcast none."""
    return not (protocol.votes_inside and kind in ("SignedProposal", "SignedVote"))


def _varied() -> set[str]:
    return {cls.__name__ for cls in stories.VARIED}


def _every_kind() -> dict[str, type[Message]]:
    """All messages of the house and of what was registered. Imports all that speak."""
    for things in (AGREEMENTS, WRONG, OPERATIONS):
        list(things.values())
    import_module("mpclab.signaling.party")
    return {cls.__name__: cls for cls in _all(Message)}


def _all(base: type[Message]) -> Iterator[type[Message]]:
    for cls in base.__subclasses__():
        yield cls
        yield from _all(cls)
