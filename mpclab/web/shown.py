"""What a tab's page shows, as plain data: people, operations, the server here, forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpclab.coordinator.views import OperationView
from mpclab.core.errors import UsageError
from mpclab.core.node import Node
from mpclab.operations import OPERATIONS, Number, Numbers, Reference
from mpclab.operations.parameters import Bytes, Content, Parameter, Text
from mpclab.signaling.mesh import Mesh
from mpclab.signaling.party import MESH, PartyMachine
from mpclab.signaling.rooms import PATH as ROOMS
from mpclab.signaling.rooms import Rooms
from mpclab.trace import palette


def people(node: Node) -> dict[str, Any]:
    """Who is there, and how a party reaches them; whether it is in its session."""
    root, mesh = node.machine(()), node.machine(MESH)
    assert isinstance(root, PartyMachine)
    assert isinstance(mesh, Mesh)
    peers = {
        status.party: {"online": status.online, "via": root.up.get(status.party, ""),
                       "state": str(status.state)}
        for status in mesh.status()
    }  # fmt: skip
    everyone = [
        {"party": p, "colour": palette.party_colour(p), "key": key.hex() if key else "",
         **peers.get(p, {"online": root.joined, "via": "self", "state": ""})}
        for p in range(1, node.n + 1)
        for key in [root.keys.get(p)]
    ]  # fmt: skip
    return {"joined": root.joined, "people": everyone}


def rooms_status(node: Node) -> dict[str, Any]:
    """The sessions of the server here, and how busy it is."""
    rooms = node.machine(ROOMS)
    assert isinstance(rooms, Rooms)
    seen = rooms.status()
    sessions = [
        {"session": s.session, "n": s.n, "members": {m.party: m.state for m in s.members}}
        for s in seen.sessions
    ]
    return {"connections": seen.connections, "relayed": seen.relayed, "sessions": sessions}


def operation(o: OperationView) -> dict[str, Any]:
    """One operation, with exactly what will be executed."""
    facts = OPERATIONS[o.kind].facts(o.data) if o.kind in OPERATIONS and o.data else ()
    return {
        "op": o.op,
        "kind": o.kind,
        "by": o.by,
        "text": o.text,
        "params": [[name, value] for name, value in o.params],
        "status": o.status,
        "reason": o.reason,
        "votes": [{"party": v.party, "approve": v.approve, "reason": v.reason} for v in o.votes],
        "mine": o.mine,
        "waiting_for": o.waiting_for,
        "result": o.result,
        "facts": [[name, value] for name, value in facts],
        "index": o.index,
    }


def field(parameter: Parameter) -> dict[str, Any]:
    """A parameter as a field of a form."""
    match parameter:
        case Reference():
            kind = "reference"
        case Numbers():
            kind = "numbers"
        case Number():
            kind = "number"
        case Content():
            kind = "content"
        case Bytes():
            kind = "bytes"
        case _:
            kind = "text"
    return {
        "name": parameter.name,
        "kind": kind,
        "default": parameter.default,
        "help": parameter.help,
        "choices": parameter.choices if isinstance(parameter, Text) else (),
    }


def read_params(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The texts of a form's fields, as the operation takes them; empty ones are left out.

    Raises:
        UsageError: a number is none.
    """
    known = {parameter.name: parameter for parameter in OPERATIONS[kind].parameters}
    params: dict[str, Any] = {}
    for name, value in given.items():
        text = str(value).strip()
        if not text:
            continue
        try:
            match known.get(name):
                case Number():
                    params[name] = int(text)
                case Reference() if text.isdecimal():
                    params[name] = int(text)  # by its number in the order of proposing
                case Numbers():
                    params[name] = [int(word) for word in text.replace(",", " ").split()]
                case _:
                    params[name] = str(value)
        except ValueError:
            raise UsageError(f"{name}: {text!r} is not a whole number") from None
    return params
