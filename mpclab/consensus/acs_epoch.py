"""One epoch of `acs` at one party: what it heard and said, and the common subset that comes of it.

Fig. 4 of the HoneyBadgerBFT paper (after Ben-Or, Kelmer and Rabin, PODC 1994), whose steps are
quoted. Nothing is sent here: the machine does that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import msgspec

from mpclab.consensus.acs_binary import Binary, Step
from mpclab.consensus.acs_broadcast import Broadcast, shards_of
from mpclab.consensus.acs_messages import (
    AcsAux,
    AcsBval,
    AcsConf,
    AcsEcho,
    AcsFinish,
    AcsPart,
    AcsReady,
    AcsVal,
    AcsWords,
    Word,
)
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party

Key: TypeAlias = tuple[str | int, ...]
"""What a word is about: nobody says two words about one thing."""


encode = msgspec.msgpack.encode
read_word = msgspec.msgpack.Decoder(Word).decode


def key_of(word: Word) -> Key:
    match word:
        case AcsEcho(of=of) | AcsReady(of=of) | AcsFinish(of=of):
            return (type(word).__name__, of)
        case AcsBval(of=of, round=round, bit=bit):
            return ("AcsBval", of, round, bit)
    return (type(word).__name__, word.of, word.round)


@dataclass(slots=True)
class Epoch:
    """The state of one epoch.

    Attributes:
        batch: ours, as it is broadcast; None: we have not begun.
        said: our words, encoded as they are stored, in their order.
        began: who sent us a shard of its batch.
        parts: by (of, round), the right parts of a coin.
    """

    number: int
    n: int
    f: int
    broadcasts: dict[Party, Broadcast]
    votes: dict[Party, Binary]
    batch: bytes | None = None
    said: dict[Key, bytes] = field(default_factory=dict)
    began: set[Party] = field(default_factory=set)
    parts: dict[tuple[Party, int], dict[Party, bytes]] = field(default_factory=dict)

    TOLD: ClassVar = 1024 * 1024
    """Bytes of shards in one message of words, at most."""

    @classmethod
    def of(cls, number: int, n: int, f: int) -> Epoch:
        members = range(1, n + 1)
        broadcasts = {p: Broadcast(n, f) for p in members}
        return cls(number, n, f, broadcasts, {p: Binary(n, f) for p in members})

    # --- what is heard ---

    def take(self, party: Party, word: Word) -> None:
        """A party's word, checked.

        Raises:
            PeerFault: it contradicts an earlier one, or proves nothing.
        """
        if not 1 <= word.of <= self.n:
            raise PeerFault(f"speaks of party {word.of}, which is none")
        votes = self.votes[word.of]
        match word:
            case AcsEcho(_, of, root, branch, shard):
                self.broadcasts[of].check(party, root, branch, shard)
                self.broadcasts[of].echo(party, root, shard)
            case AcsReady(_, of, root):
                self.broadcasts[of].ready(party, root)
            case AcsBval(round=round, bit=bit):
                votes.hear(party, "bval", round, 1 << bit)
            case AcsAux(round=round, bit=bit):
                votes.hear(party, "aux", round, 1 << bit)
            case AcsConf(round=round, bits=bits):
                votes.hear(party, "conf", round, bits)
            case AcsFinish(bit=bit):
                votes.finish(party, bit)
            case AcsPart(_, of, round, part) if votes.listens(round):
                self.parts.setdefault((of, round), {})[party] = part

    def check(self, sender: Party, me: Party, val: AcsVal) -> None:
        """Raise `PeerFault` unless it is our shard."""
        self.broadcasts[sender].check(me, val.root, val.branch, val.shard)

    # --- what is said ---

    def val(self, to: Party) -> AcsVal:
        """The shard of our batch that is for this party."""
        assert self.batch is not None
        root, shards, branches = shards_of(self.batch, self.n, self.f)
        return AcsVal(self.number, root, branches[to - 1], shards[to - 1])

    def word(self, of: Party, step: Step, round: int, bits: int) -> Word:
        if step == "conf":
            return AcsConf(self.number, of, round, bits)
        return (AcsBval if step == "bval" else AcsAux)(self.number, of, round, bits >> 1)

    def say(self, word: Word) -> tuple[str, bytes] | None:
        """The name and the bytes to store this word by; None when we said one about that."""
        key = key_of(word)
        if key in self.said:
            return None
        self.said[key] = encode(word)
        return self.name(key), self.said[key]

    def name(self, key: Key) -> str:
        return "/".join(map(str, ("said", self.number, *key)))

    def forget(self) -> None:
        """It is over: what others said is needed no more, and our words by those that lack them."""
        for heard in (self.broadcasts, self.votes, self.parts):
            heard.clear()

    def words_to(self, party: Party) -> Iterator[AcsWords]:
        """All that we said to it, in messages of at most `TOLD` bytes, or of one word."""
        page: list[AcsVal | Word] = []
        size = 0
        mine = () if self.batch is None else (self.val(party),)
        for word in (*mine, *map(read_word, self.said.values())):
            more = len(word.shard) if isinstance(word, AcsVal | AcsEcho) else 0
            if page and size + more > self.TOLD:
                yield AcsWords(tuple(page))
                page, size = [], 0
            page.append(word)
            size += more
        if page:
            yield AcsWords(tuple(page))

    def restore(self, words: list[Word]) -> None:
        """These we said in an earlier life."""
        for word in words:
            self.said[key_of(word)] = encode(word)
            if isinstance(word, AcsBval):
                votes = self.votes[word.of]
                votes.round = max(votes.round, word.round)
            if isinstance(word, AcsFinish):
                self.votes[word.of].decision = word.bit

    # --- the common subset ---

    @property
    def accepted(self) -> list[Party]:
        """Whose batches are in, as far as that is decided: C."""
        return [p for p, one in self.votes.items() if one.decision == 1]

    def begin_others(self, begin: Callable[[Binary, Party], Any]) -> None:
        """ "Upon delivery of value 1 from at least N − f instances of BA, provide input 0 to each
        instance of BA that has not yet been provided input." """
        if len(self.accepted) >= self.n - self.f:
            for of, one in self.votes.items():
                if one.round == 0 and one.decision is None:
                    begin(one, of)

    def is_over(self) -> bool:
        """ "Once all instances of BA have completed, … wait for the output v_j for each j ∈ C." """
        return self.all_delivered() and all(one.decision is not None for one in self.votes.values())

    def all_delivered(self) -> bool:
        """Whether the batches that are in are here."""
        return all(self.broadcasts[of].batch is not None for of in self.accepted)

    def subset(self) -> list[bytes]:
        """The batches of C, in an order that gives each party its turn at being first."""
        order = sorted(self.accepted, key=lambda p: (p + self.number) % self.n)
        return [self.broadcasts[of].batch or b"" for of in order]
