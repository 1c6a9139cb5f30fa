"""Which rules bind an operation: those of every key that it names.

They stand in the key's record, once it is made. While it is being made they are what was proposed
for it, which is what all its holders will sign: so whoever votes on a signature by a key that is
still under way judges by the rules that the key will have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.operations.proposal import Proposal
from mpclab.operations.rules import Rules

KEY_KINDS = ("dkg", "import", "refresh", "rules", "reshare", "repair")
"""Operations whose result is a key."""


@dataclass(frozen=True, slots=True)
class RuleBooks:
    """Several rules that must all be kept.

    Attributes:
        books: for what is done. `coming`: those that are agreed on now, whose approvals count
            already.
    """

    books: tuple[Rules, ...]
    coming: tuple[Rules, ...] = ()

    def forbid(self, kind: str, by: Party, params: Mapping[str, Any]) -> str | None:
        """Why one of them does not let `by` propose this; None: all do."""
        said = (book.forbid(kind, by, params) for book in self.books)
        return next((why for why in said if why is not None), None)

    def lack(self, approving: Iterable[Party]) -> str | None:
        """Which approvals one of them wants besides these; None: none does."""
        approving = tuple(approving)
        said = (book.lack(approving) for book in (*self.books, *self.coming))
        return next((why for why in said if why is not None), None)


def rules_of(
    ops: Iterable[str], proposals: Mapping[str, Proposal], data_of: Callable[[str], bytes | None]
) -> tuple[Rules, ...]:
    """The rules of the keys that these operations made or are making.

    Args:
        proposals: by operation, as far as they are known. `data_of`: the public bytes of an
            operation's result, None where there is none here.
    """
    found: dict[Rules, None] = {}
    waiting, seen = [*ops], set[str]()
    while waiting:
        op = waiting.pop(0)
        proposal = proposals.get(op)
        if op in seen or proposal is None or proposal.kind not in KEY_KINDS:
            continue
        seen.add(op)
        params = dict(proposal.params)
        try:
            if (data := data_of(op)) is not None:
                from mpclab.mpc.records import KeyRecord  # a note needs no curves

                found[Rules.parse(KeyRecord.from_bytes(data).rules)] = None
                continue
            found[Rules.parse(params.get("rules", ""))] = None
        except (UsageError, ValueError):
            continue  # nothing will be made of this proposal, or a kind of ours was replaced
        waiting.append(str(params.get("key", "")))
    return tuple(rules for rules in found if rules.text)
