"""A fault: a party of whose words some never leave its mouth."""

from __future__ import annotations

from dataclasses import dataclass

from mpclab.core.effects import Words
from mpclab.faults.byzantine import ByzantineFault
from mpclab.faults.fault import AdversaryContext, a_number, the


@dataclass(frozen=True, kw_only=True)
class Mumble(ByzantineFault):
    """A party swallows a share of what it should say."""

    kind = "mumble"
    share: float = the(a_number(0, 1, "a share"), 0.5)

    def rewrite(self, words: Words, adversary: AdversaryContext, past: list[Words]) -> list[Words]:
        number = adversary.node.next_id
        if adversary.draw("mumble", number) >= self.share:
            return [words]
        adversary.remark(f"swallows a {type(words.msg).__name__}")
        return []

    def sentence(self) -> str:
        return f"party {self.party} swallows {self.share:.0%} of its words{self.only()}"
