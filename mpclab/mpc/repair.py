"""`Repair`: a holder that lost its share gets it back from `t` others, who learn nothing.

Laing and Stinson's enrollment (ePrint 2017/1155) with committed pieces (`crypto.proactive`):

1. Every helper splits its part of the lost share among all helpers, sealed, and commits to it all.
2. Every helper adds up the pieces that it got and seals the sum to the owner, or complains of a
   piece and discloses it. It also says which splits it saw, so nobody can tell two stories.
3. The owner adds up the sums and checks the share against the key, or complains of a sum, and says
   which sums it saw: a complaint is judged by what its author was shown, not by what we were.

Splits and sums are signed, so that two of one author convict it. A party that is shown to be
wrong is named at everyone, and the repair ends; propose it again with other helpers. The pieces are
sealed as in `envelopes`, so a false complaint convicts its author. Our messages are stored
before they are sent (`said/k`) and repeated to the letter after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mpclab.core.errors import PeerFault, Strength, UsageError
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import Ctx
from mpclab.core.rounds import Aborted, Finished, RoundMachine
from mpclab.core.wire import Message
from mpclab.crypto import proactive
from mpclab.crypto.errors import BadShare, Blamed
from mpclab.crypto.identity import Coins, Identity
from mpclab.crypto.keys import KeyShare
from mpclab.crypto.transcript import digest
from mpclab.mpc import envelopes
from mpclab.mpc.dealing import SharedKey
from mpclab.mpc.envelopes import EncryptionContext
from mpclab.mpc.messages import Announce, Complaint, Receipt, genuine
from mpclab.mpc.records import KeyRecord

SPLIT, SUMS = "mpclab repair split", "mpclab repair sums"
"""Labels of signatures."""


class Box(Message, frozen=True):
    """Scalars sealed to some parties under one one-time key."""

    ephemeral: bytes = b""
    proof: bytes = b""
    ciphertexts: tuple[bytes, ...] = ()


class Split(Message, frozen=True):
    """A helper's pieces: commitments and ciphertexts in the helpers' order."""

    commitments: tuple[bytes, ...] = ()
    box: Box = Box()
    signature: bytes = b""


class Sums(Message, frozen=True):
    """A helper's sum, sealed to the owner; or complaints. `receipts`: the splits that it saw."""

    receipts: tuple[Receipt, ...] = ()
    box: Box = Box()
    complaints: tuple[Complaint, ...] = ()
    signature: bytes = b""


class Verdict(Message, frozen=True):
    """The owner's complaints of sums; none means that it has its share. `receipts`: the sums
    that it saw."""

    receipts: tuple[Receipt, ...] = ()
    complaints: tuple[Complaint, ...] = ()


class Repair(RoundMachine):
    """The result is a `SharedKey`: the same record for all, the share at its owner.

    Args:
        record: of the key. `share`: ours, when we help.
        lost: the party that lost its share. `helpers`: at least `t` other holders.
    """

    rounds = (Split, Sums, Verdict)
    stores = True

    def __init__(
        self,
        context: bytes,
        identity: Identity,
        keys: Mapping[Party, bytes],
        record: KeyRecord,
        share: KeyShare | None,
        lost: Party,
        helpers: tuple[Party, ...],
        *,
        deadline: int = 10 * SECOND,
        present: Callable[[SharedKey], Any] = lambda result: result,
    ) -> None:
        helpers = tuple(sorted(set(helpers)))
        if lost not in record.holders or not set(helpers) <= set(record.holders) - {lost}:
            raise UsageError("helpers: name other holders of the key than the one to be helped")
        if len(helpers) < record.threshold:
            raise UsageError(f"helpers: {record.threshold} are needed, not {len(helpers)}")
        super().__init__(tuple(sorted({*helpers, lost})), deadline)
        self.context = digest("mpclab repair", context, record.key().fingerprint(), lost, helpers)
        self.identity, self.keys = identity, dict(keys)
        self.record, self.key, self.share = record, record.key(), share
        self.lost, self.helpers, self.present = lost, helpers, present
        self.announced: set[Party] = set()

    @classmethod
    def _message_types(cls) -> Any:
        return super()._message_types() | Announce

    # --- what each round says -------------------------------------------------------------

    def produce(self, ctx: Ctx, k: int) -> Message:
        if (ctx.me == self.lost) != (k == 2):
            return self.rounds[k]()
        return (self._split, self._sum, self._judge)[k](ctx)

    def _split(self, ctx: Ctx) -> Split:
        assert self.share is not None
        pieces, commitments = proactive.repair_split(self.share, self.helpers, self.lost, ctx.rng)
        box = self._seal(ctx.me, pieces.pieces, ctx.rng)
        split = Split(tuple(commitments[h] for h in self.helpers), box)
        signature = self.identity.sign(SPLIT, self._hash(ctx.me, split))
        return msgspec.structs.replace(split, signature=signature)

    def _sum(self, ctx: Ctx) -> Sums:
        receipts = self._receipts(0)
        opened = {h: self._open(self._box(0, h), h, ctx.me) for h in self.helpers}
        try:
            total = proactive.repair_sum(self.key, ctx.me, self._commitments(), opened)
        except BadShare as error:
            sums = Sums(receipts, complaints=self._complain(ctx, 0, error.culprits))
        else:
            sums = Sums(receipts, self._seal(ctx.me, {self.lost: total}, ctx.rng))
        signature = self.identity.sign(SUMS, self._hash(ctx.me, sums))
        return msgspec.structs.replace(sums, signature=signature)

    def _judge(self, ctx: Ctx) -> Verdict:
        try:
            self.share = self._restored(ctx.me)
        except BadShare as error:
            return Verdict(self._receipts(1), self._complain(ctx, 1, error.culprits))
        return Verdict(self._receipts(1))

    def _restored(self, me: Party) -> KeyShare:
        sums = {h: self._open(self._box(1, h), h, me) for h in self.helpers}
        return proactive.repair_finish(self.key, me, self._commitments(), sums)

    def result(self, ctx: Ctx) -> Any:
        if ctx.me == self.lost and self.share is None:  # judged in an earlier life
            self.share = self._restored(ctx.me)
        mine = self.share if ctx.me == self.lost else None
        return self.present(SharedKey(self.record, mine))

    # --- what is checked ------------------------------------------------------------------

    def check(self, ctx: Ctx, k: int, sender: Party, msg: Any) -> None:
        if (sender == self.lost) != (k == 2):
            if msg != self.rounds[k]():
                raise PeerFault("spoke out of turn")
            return
        match msg:
            case Split():
                self._check_split(sender, msg)
            case Sums():
                if not self._signed(SUMS, sender, self._hash(sender, msg), msg.signature):
                    raise PeerFault("sums are not signed by their author")
                self._compare(0, sender, msg.receipts)
                self._settle(0, sender, msg.complaints)
                if not msg.complaints:
                    self._check_box(sender, msg.box, 1)
            case Verdict():
                self._compare(1, sender, msg.receipts)
                self._settle(1, sender, msg.complaints)

    def _check_split(self, helper: Party, split: Split) -> None:
        if not self._signed(SPLIT, helper, self._hash(helper, split), split.signature):
            raise PeerFault("split is not signed by its author")
        if len(split.commitments) != len(self.helpers):
            raise PeerFault("split for others than the helpers", strength=Strength.PROOF)
        commitments = dict(zip(self.helpers, split.commitments, strict=True))
        try:
            proactive.check_repair_commitments(
                self.key, self.helpers, self.lost, helper, commitments
            )
        except Blamed as error:
            raise PeerFault(error.reason, strength=Strength.PROOF) from None
        self._check_box(helper, split.box, len(self.helpers))

    def _check_box(self, author: Party, box: Box, count: int) -> None:
        if len(box.ciphertexts) != count or any(
            len(c) != envelopes.SCALAR_BYTES for c in box.ciphertexts
        ):
            raise PeerFault("malformed box: not one sealed scalar for each receiver")
        try:
            envelopes.check_ephemeral(self.context, author, box.ephemeral, box.proof)
        except Blamed as error:
            raise PeerFault(f"its one-time key: {error.reason}") from None

    def _compare(self, k: int, sender: Party, receipts: tuple[Receipt, ...]) -> None:
        """The helpers' messages of round k must be the same at `sender` and here."""
        if tuple(receipt.dealer for receipt in receipts) != self.helpers:
            raise PeerFault("receipts are not one of each helper")
        label, what = (SPLIT, "splits") if k == 0 else (SUMS, "sums")
        for receipt in receipts:
            helper = receipt.dealer
            if receipt.hash == self._receipt(k, helper).hash:
                continue
            if self._signed(label, helper, receipt.hash, receipt.signature):
                raise PeerFault(
                    f"signed two different {what}", party=helper, strength=Strength.PROOF
                )
            raise PeerFault(f"claims {what} that party {helper} did not sign")

    def _settle(self, k: int, sender: Party, complaints: tuple[Complaint, ...]) -> None:
        """Anyone can open what is disclosed: it convicts the accused, or the accuser."""
        for complaint in complaints:
            accused = complaint.dealer
            if accused not in self.helpers:
                raise PeerFault("complained of a party that does not help")
            box = self._box(k, accused)
            bound, ciphertext = (
                self._encryption_context(box, accused, sender),
                self._for(box, k, sender),
            )
            try:
                value = envelopes.open_disclosed(
                    bound, complaint.point, complaint.proof, ciphertext
                )
            except Blamed as error:
                raise PeerFault(f"complained of party {accused}: {error.reason}") from None
            group, commitments = self.key.suite.group, self._commitments()
            if k == 0:
                expected = commitments[accused][sender]
            else:
                expected = group.sum(own[accused] for own in commitments.values())
            if group.base_mult(value) == expected:
                raise PeerFault(f"false complaint of party {accused}")
            what = "piece" if k == 0 else "sum"
            raise PeerFault(
                f"gave party {sender} a wrong {what}", party=accused, strength=Strength.PROOF
            )

    # --- sealing --------------------------------------------------------------------------

    def _seal(self, me: Party, values: Mapping[Party, int], coins: Coins) -> Box:
        one_time = envelopes.new_ephemeral(self.context, me, coins)
        box = Box(one_time.public, one_time.proof)
        sealed = tuple(
            envelopes.encrypt(self._encryption_context(box, me, receiver), one_time, value)
            for receiver, value in sorted(values.items())
        )
        return msgspec.structs.replace(box, ciphertexts=sealed)

    def _encryption_context(self, box: Box, author: Party, receiver: Party) -> EncryptionContext:
        order = self.key.suite.group.order
        return EncryptionContext(
            self.context, author, receiver, self.keys[receiver], box.ephemeral, order
        )

    def _box(self, k: int, author: Party) -> Box:
        said = self.received[k][author]
        assert isinstance(said, Split | Sums)
        return said.box

    def _for(self, box: Box, k: int, receiver: Party) -> bytes:
        return box.ciphertexts[self.helpers.index(receiver) if k == 0 else 0]

    def _open(self, box: Box, author: Party, me: Party) -> int:
        ciphertext = self._for(box, 0 if me in self.helpers else 1, me)
        return envelopes.decrypt(
            self._encryption_context(box, author, me), self.identity, ciphertext
        )

    def _complain(self, ctx: Ctx, k: int, culprits: tuple[Party, ...]) -> tuple[Complaint, ...]:
        found = []
        for culprit in culprits:
            bound = self._encryption_context(self._box(k, culprit), culprit, ctx.me)
            found.append(Complaint(culprit, *envelopes.disclose(bound, self.identity, ctx.rng)))
        return tuple(found)

    def _commitments(self) -> dict[Party, dict[Party, bytes]]:
        return {
            h: dict(zip(self.helpers, self.received[0][h].commitments, strict=True))
            for h in self.helpers
        }

    def _receipt(self, k: int, helper: Party) -> Receipt:
        said = self.received[k][helper]
        return Receipt(helper, self._hash(helper, said), said.signature)

    def _receipts(self, k: int) -> tuple[Receipt, ...]:
        return tuple(self._receipt(k, helper) for helper in self.helpers)

    def _signed(self, label: str, helper: Party, hash: bytes, signature: bytes) -> bool:
        return genuine(self.keys[helper], label, (hash,), signature)

    def _hash(self, helper: Party, said: Split | Sums) -> bytes:
        """Of all that a helper said in one message, but the signature, for this repair alone."""
        body = msgspec.msgpack.encode(msgspec.structs.replace(said, signature=b""))
        return digest("mpclab repair", self.context, helper, body)

    # --- members who only watch -----------------------------------------------------------

    def start(self, ctx: Ctx) -> None:
        super().start(ctx)
        if ctx.me not in self.participants:
            ctx.set_timer("deadline", (len(self.rounds) + 1) * self.deadline)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if ctx.me in self.participants:
            super().on_timer(ctx, name)
        elif self.outcome is None:
            self._end(ctx, Aborted("nobody reported the result", missing=self.participants))

    def on_message(self, ctx: Ctx, sender: Party, msg: Any) -> None:
        if not isinstance(msg, Announce):
            super().on_message(ctx, sender, msg)
        elif sender in self.participants and ctx.me not in self.participants:
            self.announced.add(sender)
            # Of `t` participants one is honest.
            if len(self.announced) >= self.record.threshold and self.outcome is None:
                self._end(ctx, Finished(self.present(SharedKey(self.record))))

    def _end(self, ctx: Ctx, outcome: Finished[Any] | Aborted) -> None:
        watching = [p for p in ctx.members if p not in self.participants]
        if isinstance(outcome, Finished) and ctx.me in self.participants and watching:
            ctx.multicast(watching, Announce(b""))
        super()._end(ctx, outcome)
