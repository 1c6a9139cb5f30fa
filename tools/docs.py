"""What the documents say of the code, printed from the code: `make docs-tables` writes it.

Whole files (`docs/lies.md`, `docs/mutants.md`, `docs/notes.md`, `docs/wire.json`,
`docs/wire-vectors.json`) and, in files
that people write, what stands between `<!-- NAME -->` and `<!-- /NAME -->`: tables of what can be
chosen, layers, diagrams of legal moves. A test compares them with what is printed now.
"""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec

from mpclab import __version__
from mpclab.check import CHECKS
from mpclab.consensus.registry import AGREEMENTS
from mpclab.coordinator.session import Session
from mpclab.core import pieces
from mpclab.core.registry import parameters
from mpclab.core.wire import Message
from mpclab.faults.plan import KINDS
from mpclab.operations import OPERATIONS
from mpclab.signaling import client, messages, peer_link, relay
from mpclab.signaling.mesh import Mesh
from mpclab.signaling.negotiate import Confirm
from tools.lies_table import table as lies_table
from tools.mutants_table import table as mutants_table
from tools.notes_table import table as notes_table
from tools.wire_vectors import vectors

CHECKOUT = Path(__file__).resolve().parent.parent

# --- tables ---------------------------------------------------------------------------------------


def first_line(thing: Any) -> str:
    """The first sentence of a docstring, on one line."""
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return text.replace("|", "\\|")


def rows(head: str, lines: Iterable[str]) -> str:
    """A Markdown table."""
    columns = head.count("|") - 1
    return "\n".join([head, "|" + "---|" * columns, *lines])


def protocols() -> str:
    return rows(
        "| word | protocol | liars borne by 4 | options |",
        (
            f"| `{word}` | {cls.title} | {cls.liars(4)} | "
            f"{', '.join(f'`{name}`' for name in cls.options_type.settings())} |"
            for word, cls in AGREEMENTS.own.items()
        ),
    )


def operations() -> str:
    return rows(
        "| kind | parameters | what is proposed |",
        (
            f"| `{word}` | {', '.join(f'`{p.name}`' for p in spec.parameters)} | "
            f"{spec.sentence or word} |"
            for word, spec in OPERATIONS.own.items()
        ),
    )


def faults() -> str:
    return rows(
        "| kind | what goes wrong |",
        (f"| `{word}` | {first_line(kind)} |" for word, kind in sorted(KINDS.own.items())),
    )


def checks() -> str:
    return rows(
        "| check | what it asks | parameters |",
        (
            f"| `{word}` | {first_line(check)} | "
            f"{', '.join(f'`{name}`' for name in parameters(check))} |"
            for word, check in CHECKS.own.items()
        ),
    )


def layers() -> str:
    """The arrows that import-linter enforces, from the top down."""
    config = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    [arrows] = [
        contract["arrows"]
        for contract in config["tool"]["importlinter"]["contracts"]
        if contract["type"] == "arrows"
    ]
    return "\n".join(["```text", *reversed(arrows), "```"])


# --- diagrams -------------------------------------------------------------------------------------


def diagram(moves: Mapping[str, Iterable[str]]) -> str:
    """A table of legal moves as a Mermaid state diagram."""
    lines = [f"    {start} --> {end}" for start, ends in moves.items() for end in sorted(ends)]
    first = next(iter(moves))
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {first}", *lines, "```"])


# --- the wire -------------------------------------------------------------------------------------


def wire() -> str:
    """An AsyncAPI 3.0 description of what travels, its schemas made from the message classes."""
    doors: dict[str, tuple[str, str, Any]] = {
        "toServer": ("signaling", "client to server, JSON text", messages.ClientMessage),
        "fromServer": ("signaling", "server to client, JSON text", messages.ServerMessage),
        "payload": ("signaling", "inside Relay and Announce, JSON", messages.Payload),
        "boxed": ("signaling", "inside Sealed, MessagePack", relay.Content),
        "link": (
            "link",
            "bodies of frames of the mesh, MessagePack",
            Mesh._message_types() | Confirm,
        ),
        "pieces": ("link", "at path pieces: parts of larger messages, MessagePack", pieces.Piece),
        "session": ("link", "bodies of frames of a session, MessagePack", Session._message_types()),
    }
    for word, cls in AGREEMENTS.own.items():
        if (types := cls._message_types()) is not Message:
            doors[word] = ("link", f"bodies of frames of {word}, MessagePack", types)
    every = list(dict.fromkeys(t for _, _, types in doors.values() for t in members(types)))
    refs, schemas = msgspec.json.schema_components(
        every, ref_template="#/components/schemas/{name}"
    )
    reference = dict(zip(every, refs, strict=True))
    channels: dict[str, dict[str, Any]] = {
        "signaling": {
            "address": "/",
            "description": "One WebSocket text message carries one JSON object.",
            "messages": {},
        },
        "link": {
            "address": "data channel 'mpclab'",
            "description": "One data channel message carries one frame, or a piece of one.",
            "messages": {},
        },
    }
    documented: dict[str, Any] = {}
    for door, (channel, says, types) in doors.items():
        for one in members(types):
            name = f"{door}.{one.__name__}"
            documented[name] = {
                "name": one.__name__,
                "title": says,
                "summary": first_line(one) if one.__doc__ else "",
                "payload": reference[one],
            }
            channels[channel]["messages"][name] = {"$ref": f"#/components/messages/{name}"}
    document = {
        "asyncapi": "3.0.0",
        "info": {"title": "mpclab", "version": __version__},
        "channels": channels,
        "components": {"messages": documented, "schemas": schemas},
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def members(types: Any) -> tuple[type[Message], ...]:
    """The classes of a union of messages, or of one."""
    return get_args(types) or (types,)


# --- writing --------------------------------------------------------------------------------------

FILES: dict[str, Callable[[], str]] = {
    "docs/notes.md": notes_table,
    "docs/wire.json": wire,
    "docs/wire-vectors.json": vectors,
    "docs/mutants.md": mutants_table,
}

TRIED: dict[str, Callable[[], str]] = {"docs/lies.md": lies_table}
"""Printed from runs, which take seconds: their own tests compare them."""

PARTS: dict[str, Callable[[], str]] = {
    "protocols": protocols,
    "operations": operations,
    "faults": faults,
    "checks": checks,
    "layers": layers,
    "client moves": lambda: diagram(client.MOVES),
    "link moves": lambda: diagram(peer_link.MOVES),
}

_PART = re.compile(r"(<!-- ([a-z ]+) -->\n)(.*?)(<!-- /\2 -->)", re.DOTALL)


def filled(text: str) -> str:
    """A document with its printed parts as they should be now."""

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}{PARTS[match[2]]()}\n{match[4]}"

    return _PART.sub(fill, text)


def documents() -> list[Path]:
    """Every Markdown file that people read."""
    return [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").glob("**/*.md"))]


def current() -> dict[Path, str]:
    """Every printed file, and every file with printed parts, as it should be now."""
    found = {CHECKOUT / name: make() for name, make in FILES.items()}
    for path in documents():
        if path not in found and _PART.search(text := path.read_text()):
            found[path] = filled(text)
    return found


def main() -> None:
    tried = {CHECKOUT / name: make() for name, make in TRIED.items()}
    for path, text in {**current(), **tried}.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path.relative_to(CHECKOUT)}")


if __name__ == "__main__":
    main()
