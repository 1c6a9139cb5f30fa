"""What an operator can set of `mpclab serve`: one table for flags, environment and a TOML file.

A flag (`--per-address 64`) comes before the environment (`MPCLAB_SERVE_PER_ADDRESS=64`), that
before the file (`per-address = 64` in its section), and that before what holds by itself. A name
that nobody knows is an error that tells the nearest one, so that no limit is misspelt in silence.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from mpclab.core.errors import UsageError, nearest

_PREFIX: Final = "MPCLAB_SERVE_"


@dataclass(frozen=True)
class Option:
    """One thing that can be set.

    Attributes:
        name: of the flag and in the file; upper-case with underscores in the environment.
        section: of the file.
        kind: of the value: int, float, str, Path or bool.
        default: what holds if nobody says anything; None: nothing, or it depends.
        many: a list; the flag may be repeated, the environment has commas.
        least, most: bounds of a number.
        choices: the words that there are.
    """

    name: str
    section: str
    kind: type
    default: Any
    help: str
    many: bool = False
    least: float = 0
    most: float = 1_000_000
    choices: tuple[str, ...] = ()
    metavar: str = ""

    @property
    def key(self) -> str:
        """The attribute of the parsed arguments."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        return _PREFIX + self.key.upper()

    def parse(self, text: str, where: str) -> Any:
        """A value written as text, in a flag or in the environment."""
        if self.many:
            return [part.strip() for part in text.split(",") if part.strip()]
        if self.kind is bool:
            words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
            if text.lower() not in words:
                raise UsageError(f"{where} {text!r}: write true or false")
            return words[text.lower()]
        if self.kind in (int, float):
            try:
                return self.kind(text)
            except ValueError:
                raise UsageError(f"{where} {text!r}: write a number") from None
        return text

    def check(self, value: Any, where: str) -> Any:
        """`value` as it is used.

        Raises:
            UsageError: it is of another kind, or out of bounds.
        """
        if value is None:
            return None
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str | Path) and not str(text).isprintable():
                raise UsageError(f"{where} {str(text)[:80]!r}: it has characters that are none")
        if self.many:
            if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
                raise UsageError(f"{where}: write a list of texts")
            return value
        if self.kind is float and type(value) is int:
            value = float(value)
        if self.kind is Path:
            if not isinstance(value, str | Path) or not str(value):
                raise UsageError(f"{where}: write the name of a file")
            return Path(value)
        if type(value) is not self.kind:
            raise UsageError(f"{where} {value!r}: write {_A[self.kind]}")
        if self.choices and value not in self.choices:
            raise UsageError(f"{where} {value!r}: use {', '.join(self.choices)}")
        if isinstance(value, int | float) and not self.least <= value <= self.most:
            least, most = self.kind(self.least), self.kind(self.most)
            raise UsageError(f"{where} {value}: use at least {least}, at most {most}")
        return value


_A = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_DAY = 86_400.0

OPTIONS: Final = (
    Option("port", "listen", int, 8080, "0: a free one", most=65_535),
    Option("address", "listen", str, "127.0.0.1", "listen here; by itself this machine alone"),
    Option("workers", "listen", int, 1, "processes; without --redis each has a port of its own, "
           "from --port on, for a proxy to choose by the session in the path", least=1, most=64),
    Option("by-path", "listen", bool, False, "a client has to name its session in its url "
           "(…/s/SESSION), by which a proxy chose this server among others"),
    Option("pages", "listen", bool, False,
           "also serve a page on this port in which a browser tab is a party"),
    Option("cert", "tls", Path, None, "file with our certificate: speak wss", metavar="FILE"),
    Option("key", "tls", Path, None, "file with the certificate's private key", metavar="FILE"),
    Option("origin", "doors", str, (), "let pages of this origin connect", many=True,
           metavar="URL"),
    Option("name", "doors", str, (), "answer /status and the status page also under this host name",
           many=True, metavar="HOST"),
    Option("only-host", "doors", str, (), "answer nothing under other host names than these, but "
           "/healthz and /readyz", many=True, metavar="HOST"),
    Option("proxy-trust", "doors", str, (),
           "believe this proxy's Forwarded or X-Forwarded-For", many=True, metavar="ADDRESS"),
    Option("access", "doors", str, "open", "invited: sessions are opened by operators, and by who "
           "holds a ticket of theirs", choices=("open", "invited")),
    Option("operator", "doors", Path, None, "file with the operator's key, made when missing; its "
           "tickets let into every session", metavar="FILE"),
    Option("operator-key", "doors", str, (), "public key (64 hex digits) of another operator",
           many=True, metavar="KEY"),
    Option("admin", "doors", str, "", "socket for `mpclab server …`; `none`: no such socket "
           "(by itself server-PORT.sock in MPCLAB_HOME)", metavar="FILE"),
    Option("metrics", "watch", bool, False, "answer /metrics, for Prometheus"),
    Option("metrics-from", "watch", str, ("127.0.0.1", "::1"),
           "addresses or networks that may read them", many=True, metavar="ADDRESS"),
    Option("log", "watch", str, "auto", "json: an object a line; text: a line; status: counters "
           "that stay in one place; auto: status in a terminal, else text",
           choices=("auto", "json", "text", "status")),
    Option("record", "watch", Path, None,
           "append every event to this file: who spoke with whom, and when; not what",
           metavar="FILE"),
    Option("state", "watch", Path, None, "keep sessions and their members in this file",
           metavar="FILE"),
    Option("redis", "together", str, "", "servers with the same Redis are one: redis://host:6379/0",
           metavar="URL"),
    Option("redis-login", "together", Path, None, "file with Redis' user name and password, a line "
           "each", metavar="FILE"),
    Option("redis-prefix", "together", str, "mpclab", "what our keys in Redis begin with"),
    Option("lease", "together", float, 6.0, "seconds after which a server that is not heard of has "
           "lost its seats", least=0.5, most=600),
    Option("connections", "limits", int, 4096, "at the most, in all", least=1),
    Option("per-address", "limits", int, None, "connections of one address, 0: no limit (by "
           "itself 256, none on loopback)", metavar="N"),
    Option("sessions", "limits", int, 1024,
           "at the most, in all; a quarter of them for one address or key", least=1),
    Option("parties", "limits", int, 1000, "of one session", least=1, most=1000),
    Option("rate", "limits", int, 2000, "messages a second of one member", least=1),
    Option("burst", "limits", int, None, "messages at once of one member (by itself 2 × rate)",
           least=1, most=10_000_000, metavar="N"),
    Option("backlog", "limits", int, 512, "messages of one member that wait for its rate", least=1),
    Option("bytes-a-second", "limits", int, 16 * 1024 * 1024, "of one connection, those that it "
           "makes us send included", least=1024, most=2**40),
    Option("open-within", "limits", float, 5.0, "seconds for the opening, TLS included",
           least=0.1, most=600),
    Option("join-within", "limits", float, 3.0, "seconds until a connection has to have joined",
           least=0.1, most=600),
    Option("close-within", "limits", float, 2.0, "seconds for a goodbye", least=0.1, most=600),
    Option("stuck-after", "limits", float, 5.0, "seconds in which a reader has to take something",
           least=0.1, most=600),
    Option("ping-every", "limits", float, 2.0, "seconds between pings", least=0.1, most=600),
    Option("pong-within", "limits", float, 10.0, "seconds for the answer", least=0.1, most=600),
    Option("keep-idle", "limits", float, 600.0, "seconds that the seat of a party that vanished "
           "is kept, at the most", most=30 * _DAY),
    Option("keep-idle-least", "limits", float, 10.0, "and at the least", most=30 * _DAY),
)  # fmt: skip
BY_KEY: Final = {option.key: option for option in OPTIONS}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give `serve` its flags."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a TOML file with any of these (--show-config)"
    )
    parser.add_argument(
        "--show-config", action="store_true",
        help="print the configuration that holds, as such a file, and end",
    )  # fmt: skip
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    groups: dict[str, Any] = {}
    for option in OPTIONS:
        if option.section not in groups:
            groups[option.section] = parser.add_argument_group(option.section)
        flag, text = f"--{option.name}", option.help
        if not option.many and option.default not in (None, "", False):
            text += f" (default {option.default})"
        more: dict[str, Any] = {"help": text.replace("%", "%%"), "default": None}
        if option.kind is bool:
            more["action"] = argparse.BooleanOptionalAction
        else:
            more["metavar"] = option.metavar or _METAVAR.get(option.kind, "TEXT")
            if option.many:
                more["action"] = "append"
                more["help"] += "; may be repeated"
        groups[option.section].add_argument(flag, **more)


_METAVAR = {int: "N", float: "SECONDS", Path: "FILE"}


def resolve(args: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> None:
    """Put the value that holds of every option into `args`.

    Raises:
        UsageError: a value that cannot be, or a name that nobody knows; says where it stands.
    """
    for name in environment:
        if name.startswith(_PREFIX) and name != f"{_PREFIX}CONFIG":
            key = name.removeprefix(_PREFIX).lower()
            if key not in BY_KEY:
                known = [o.variable for o in OPTIONS]
                raise UsageError(f"{name}: there is no such setting{nearest(name, known)}")
    file = args.config or (
        Path(environment[f"{_PREFIX}CONFIG"]) if f"{_PREFIX}CONFIG" in environment else None
    )
    written = _read(file) if file is not None else {}
    for option in OPTIONS:
        flag, found = getattr(args, option.key), None
        if flag is not None:
            where = f"--{option.name}"
            found = option.parse(flag, where) if type(flag) is str else flag
        elif option.variable in environment:
            where = option.variable
            found = option.parse(environment[option.variable], where)
        elif option.key in written:
            where, found = f"{file}: {option.name}", written[option.key]
        else:
            where, found = option.name, option.default
            found = list(found) if option.many else found
        setattr(args, option.key, option.check(found, where))


def _read(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        sections = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"--config {file}: {error}") from error
    known = sorted({option.section for option in OPTIONS})
    found = {}
    for section, values in sections.items():
        if section in known and not isinstance(values, dict):
            raise UsageError(
                f"{file}: {section} is a section: write [{section}] above its settings"
            )
        if section not in known:
            raise UsageError(f"{file}: there is no section [{section}]{nearest(section, known)}")
        names = [o.name for o in OPTIONS if o.section == section]
        for name, value in values.items():
            if name not in names:
                raise UsageError(f"{file}: [{section}] has no {name!r}{nearest(name, names)}")
            found[name.replace("-", "_")] = value
    return found


def show(args: argparse.Namespace) -> str:
    """The configuration that holds, as a TOML file; a password in Redis' url is left out."""
    lines: list[str] = []
    section = ""
    for option in sorted(OPTIONS, key=lambda o: _ORDER.index(o.section)):
        if option.section != section:
            section = option.section
            lines += [*([""] if lines else []), f"[{section}]"]
        value = getattr(args, option.key)
        lines.append(f"# {option.help}")
        if value is None:
            lines.append(f"# {option.name} =")
        else:
            lines.append(f"{option.name} = {_toml(_without_password(option, value))}")
    return "\n".join(lines) + "\n"


_ORDER: Final = list(dict.fromkeys(option.section for option in OPTIONS))


def _without_password(option: Option, value: Any) -> Any:
    if option.name != "redis":
        return value
    if (password := urlsplit(value).password) is not None:
        value = value.replace(f":{password}@", ":…@")
    return re.sub(r"(?<=[?&]password=)[^&]*", "…", value)


def _toml(value: Any) -> str:
    """A value as TOML, which has JSON's texts, lists, numbers and truth."""
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
