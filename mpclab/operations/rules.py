"""Rules of a key: who may propose its use, for what, and who must approve.

They are agreed with the key, stored in its record, which all holders sign, and stay with it
through refresh, reshare and repair. Others can be agreed on in their place, where the old ones
allow `rules`; whose approval the new ones want is asked for it already. Whatever its vote policy,
an honest party rejects what they forbid, and takes no part in it where others commit it all the
same: with fewer than `threshold` dishonest holders nothing comes of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from mpclab.core.errors import nearest
from mpclab.core.ids import Party
from mpclab.operations.parameters import Text
from mpclab.operations.proposal import Value

CONTENTS = ("text", "bytes", "hash")
"""What a message may be given as; nobody sees what a hash is of."""
USES = ("sign", "beacon", "refresh", "rules", "reshare", "repair")
SIGNING = ("sign-batch", "sign-prepared", "nonces")
"""Kinds that may be proposed where `sign` may."""
LONGEST = 2048


class Rules(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Empty fields forbid nothing.

    Attributes:
        proposers: the parties that may propose. `operations`: the kinds that may be proposed.
        starts: how a message begins that may be signed; not one of which the hash is given.
        contents: what a message may be given as, of `CONTENTS`. `formats`: of signatures.
        approvals: how many must approve, if the session's policy needs fewer.
        approvers: the parties that must be among them.
    """

    proposers: tuple[Party, ...] = ()
    operations: tuple[str, ...] = ()
    starts: str = ""
    contents: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    approvals: int = 0
    approvers: tuple[Party, ...] = ()

    @classmethod
    def parse(cls, given: Any) -> Rules:
        """Read a mapping, or its JSON text.

        Raises:
            ValueError: naming the field, and what it should be.
        """
        if isinstance(given, str):
            try:
                given = json.loads(given) if given.strip() else {}
            except json.JSONDecodeError:
                raise ValueError(f"{given[:40]!r} is not a mapping, as in {_EXAMPLE}") from None
        if not isinstance(given, Mapping):
            raise ValueError(f"{given!r:.40} is not a mapping, as in {_EXAMPLE}")
        for name in given:
            if name not in cls.__struct_fields__:
                raise ValueError(
                    f"{name!r} is not known{nearest(str(name), cls.__struct_fields__)}"
                )
        try:
            found = msgspec.convert(dict(given), cls)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None
        found._check()
        return msgspec.structs.replace(
            found,
            proposers=tuple(sorted(found.proposers)),
            approvers=tuple(sorted(found.approvers)),
            operations=tuple(sorted(found.operations)),
        )

    def _check(self) -> None:
        for name, parties in (("proposers", self.proposers), ("approvers", self.approvers)):
            if len(set(parties)) < len(parties) or any(p < 1 for p in parties):
                raise ValueError(f"{name}: name parties, each once")
        for name, given, known in (
            ("operations", self.operations, USES),
            ("contents", self.contents, CONTENTS),
            ("formats", self.formats, ("raw", "ssh")),
        ):
            for word in given:
                if word not in known:
                    raise ValueError(f"{name}: {word!r} is not known{nearest(word, known)}")
        if self.starts and not self.starts.isprintable():
            raise ValueError("starts: has characters that cannot be shown")
        if self.approvals < 0:
            raise ValueError(f"approvals: {self.approvals} is not a number of parties")

    @property
    def text(self) -> str:
        """Canonical: what is signed, and what `parse` reads; empty when nothing is forbidden."""
        fields = msgspec.to_builtins(self)
        return json.dumps(fields, sort_keys=True, ensure_ascii=False) if fields else ""

    def check_members(self, n: int) -> None:
        """Raise `ValueError` where these name others than 1 to n, or more than there are."""
        for party in (*self.proposers, *self.approvers):
            if party > n:
                raise ValueError(f"party {party} is not one of 1 to {n}")
        if self.approvals > n:
            raise ValueError(f"approvals: {self.approvals} of {n} parties")

    def __str__(self) -> str:
        """As voters read it."""
        said = [
            f"proposed by {_listed(self.proposers)} only" if self.proposers else "",
            f"for {_listed(self.operations)} only" if self.operations else "",
            f"of messages that start with {self.starts!r}" if self.starts else "",
            f"given as {_listed(self.contents)}" if self.contents else "",
            f"in format {_listed(self.formats)}" if self.formats else "",
            f"{self.approvals} approvals" if self.approvals else "",
            f"approved by {_listed(self.approvers)}" if self.approvers else "",
        ]
        return "; ".join(part for part in said if part)

    # --- judging --------------------------------------------------------------------------

    def forbid(self, kind: str, by: Party, params: Mapping[str, Any]) -> str | None:
        """Why this may not be done with the key; None: it may."""
        if self.proposers and by not in self.proposers:
            return f"the key's rules let {_listed(self.proposers)} propose, not {by}"
        use = "sign" if kind in SIGNING else kind
        if self.operations and use not in self.operations:
            return f"the key's rules allow {_listed(self.operations)}, not {kind}"
        if kind == "sign-batch":
            each = [{"message": message, "format": "raw"} for message in params["messages"]]
            return next((why for one in each if (why := self._forbid_message(one))), None)
        if kind == "sign-prepared":
            return self._forbid_message({**params, "format": "raw"})
        return self._forbid_message(params) if kind == "sign" else None

    def _forbid_message(self, params: Mapping[str, Any]) -> str | None:
        data, hashed = params["message"]
        given_as = "hash" if hashed else "text" if _is_text(data) else "bytes"
        if self.contents and given_as not in self.contents:
            return f"the key's rules allow messages given as {_listed(self.contents)}"
        # What OpenSSH signs begins like this (PROTOCOL.sshsig): bytes that do are of its format.
        signed_as = "ssh" if data.startswith(b"SSHSIG") else params["format"]
        if self.formats and signed_as not in self.formats:
            return f"the key's rules allow signatures in format {_listed(self.formats)}"
        if self.starts and (hashed or not data.startswith(self.starts.encode())):
            return f"the key's rules allow messages that start with {self.starts!r}"
        return None

    def lack(self, approving: Iterable[Party]) -> str | None:
        """Which approvals are missing; None: none is."""
        approving = set(approving)
        if absent := set(self.approvers) - approving:
            return f"the key's rules want the approval of {_listed(sorted(absent))}"
        if len(approving) < self.approvals:
            return f"the key's rules want {self.approvals} approvals, not {len(approving)}"
        return None


_EXAMPLE = '{"proposers": [1], "starts": "pay "}'


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return text.replace("\n", "").replace("\t", "").isprintable()


def _listed(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))


@dataclass(frozen=True, slots=True)
class RulesParameter(Text):
    """Rules, as a mapping or as its JSON text. Executors get `Rules`."""

    longest: int = LONGEST
    empty: bool = True

    def check(self, value: Any) -> Value:
        text = Rules.parse(value).text
        if len(text) > self.longest:
            raise ValueError(f"{len(text)} characters; at most {self.longest}")
        return text

    def read(self, value: Value) -> Any:
        return Rules.parse(value)

    def show(self, value: Value) -> str:
        return str(Rules.parse(value)) or "none"
