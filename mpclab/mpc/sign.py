"""`Sign`: the holders of a key sign a message together. FROST (RFC 9591), repeated until it works.

FROST is not robust: one signer that vanishes or lies stops an attempt. So there are attempts, each
with its own leader (in an order that follows from the context) and its own nonces:

1. Every holder sends the leader its **Commitment** (RFC 9591 §5.1).
2. The leader signs and broadcasts a **Package**: the first `t` commitments of holders that it
   does not know as bad, and if possible not as slow (compare ROAST, Ruffing et al., CCS 2022).
3. The signers named there broadcast their **Share** (§5.2), and *everyone* adds them up (§5.3).

A wrong share names its sender to everyone; a leader that packs twice has signed both packages; then
the next attempt begins at once. Silence ends an attempt by a deadline, which doubles from a
quarter of the round's up to the whole. With f = n - t holders that fail in any way, each wasted
attempt uses up a bad leader or shows a bad or slow signer: 2f + 1 attempts are enough, two more
are for lost messages and restarts, and then it is `Aborted`.

Where the first round was prepared (`nonces`) attempt 0 is the second round alone, by signers that
follow from what was prepared: all who compute. Whose pair is spent or lost says so, and the next
attempt begins.

A nonce is drawn for one attempt, leaves memory *before* the share is computed, and is never stored:
a holder that restarts begins with fresh ones. Packages and shares of ours are stored before they
are sent (`package/k`, `share/k`) and said again to the letter, so a leader that restarts packs
nothing twice. The result is verified twice, the second time by
OpenSSL, before anyone sees it. A signature proves itself, so who has one gives it to who lacks it.

Note: under message loss two attempts may both succeed. Then two parties may hold different, equally
valid signatures of the same message, which a Schnorr signature by many can always have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mpclab.core import notes
from mpclab.core.errors import PeerFault, Strength, UsageError
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.rounds import Aborted, Copied, Finished
from mpclab.crypto import frost, schnorr
from mpclab.crypto.errors import BadCommitment, BadShare, CryptoError, EncodingError
from mpclab.crypto.frost import Nonces
from mpclab.crypto.identity import Identity
from mpclab.crypto.keys import KeyShare
from mpclab.crypto.transcript import Part, digest
from mpclab.mpc.messages import genuine
from mpclab.mpc.nonces import Ahead
from mpclab.mpc.packages import (
    PACKAGE,
    Commitment,
    Entry,
    Package,
    Resend,
    Share,
    Signature,
    Signed,
    Spent,
    add_up,
    commitments_of,
    prepared,
    verify_again,
)
from mpclab.mpc.records import KeyRecord

DISAGREE = "two libraries disagree on the signature"
SPARE = 2
"""Attempts for which nobody is to blame: lost messages, restarts."""


class Sign(Machine):
    """Sign `message` with a shared key.

    Args:
        context: hash of what was agreed: package signatures mean nothing elsewhere.
        keys: identity keys by party.
        record: of the key; its holders sign, all others wait for the signature.
        share: our share, if we have one.
        deadline: µs that one attempt may take at the most.
        ahead: the first round, if it was prepared: then attempt 0 is by its signers, without a
            leader, and takes the second round alone.
        present: makes the result of `Finished` of a `Signature`.
    """

    def __init__(
        self,
        context: bytes,
        identity: Identity,
        keys: Mapping[Party, bytes],
        record: KeyRecord,
        share: KeyShare | None,
        message: bytes,
        *,
        deadline: int = 10 * SECOND,
        ahead: Ahead | None = None,
        present: Callable[[Signature], Any] = lambda result: result,
    ) -> None:
        self.context = digest("mpclab signing", context, record.public, message)
        self.identity, self.keys = identity, dict(keys)
        self.record, self.key = record, record.key()
        if share is not None and share.key != self.key:
            raise UsageError("the share is one of another key")
        self.share, self.message = share, message
        self.deadline, self.present = deadline, present
        self.holders = record.holders
        self.ahead = ahead
        self.attempts = 2 * (len(self.holders) - record.threshold) + 1 + SPARE + bool(ahead)
        self.attempt = -1
        self.nonces: Nonces | None = None
        self.mine: Commitment | None = None
        self.offers: dict[int, dict[Party, Commitment]] = {}
        self.packages: dict[int, Package] = {}
        self.digests: dict[int, bytes] = {}  # of these, since every share is compared with it
        self.packed: dict[int, Package] = {}  # ours, of this life and before
        self.shares: dict[int, dict[Party, Share]] = {}
        self.bad: set[Party] = set()
        self.slow: set[Party] = set()
        self.patient = True  # the leader still hopes for holders that are not slow
        self.outcome: Finished[Any] | Aborted | None = None
        self.signature = b""

    def is_ahead(self, attempt: int) -> bool:
        """Whether an attempt is by what was prepared: nobody leads it."""
        return attempt == 0 and self.ahead is not None

    def leader(self, attempt: int) -> Party:
        first = int.from_bytes(self.context[:8]) + attempt
        return self.holders[first % len(self.holders)]

    # --- attempts -------------------------------------------------------------------------

    def start(self, ctx: Ctx) -> None:
        decode = type(self).decode()
        for data in ctx.stored.values():
            match decode(data):
                case Package() as package:
                    self.packed[package.attempt] = package
                case Share() as share:
                    self.shares.setdefault(share.attempt, {})[ctx.me] = share
        self._begin(ctx, 0)

    def _begin(self, ctx: Ctx, attempt: int) -> None:
        threshold = self.record.threshold
        good = [p for p in self.holders if p not in self.bad]
        if len(good) < threshold:
            self._abort(ctx, f"fewer than {threshold} holders sign properly")
            return
        if attempt >= self.attempts:
            self._abort(ctx, f"no signature in {self.attempts} attempts")
            return
        self.attempt, self.nonces, self.mine, self.patient = attempt, None, None, True
        ctx.set_timer("attempt", min(self.deadline, self.deadline // 4 << min(attempt, 2)))
        ctx.set_timer("tick", self.deadline // 16)
        if self.ahead is not None and attempt == 0:
            self._begin_ahead(ctx, self.ahead)
            return
        ctx.note(notes.Round(round=1, of=3, attempt=attempt, leader=self.leader(attempt)))
        self._commit(ctx, attempt)
        for party in self._waiting(attempt):
            self._judge(ctx, attempt, party)
        self._pack(ctx)
        self._go_on(ctx, attempt)

    def _commit(self, ctx: Ctx, attempt: int) -> None:
        if self.share is not None and ctx.me in self.holders:
            # RFC 9591 §5.1, Round One: each participant generates nonces and commitments, stores
            # the nonces and sends the commitments to the Coordinator. Note: not on a disk.
            self.nonces, commitment = frost.commit(self.share, ctx.rng)
            self.mine = Commitment(attempt, commitment.hiding, commitment.binding)
            ctx.send(self.leader(attempt), self.mine)

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        if isinstance(ask, Copied) and self.nonces is not None:
            self._commit(ctx, self.attempt)

    def _begin_ahead(self, ctx: Ctx, ahead: Ahead) -> None:
        """The second round at once, by commitments that all have."""
        package = Package(0, ahead.entries)
        self.ahead = Ahead(ahead.entries)  # nobody can use our pair again
        try:
            prepared(self.key, self.message, commitments_of(package))
        except CryptoError as error:  # they cancel out, or are those of another key's holders
            ctx.note(notes.PackageRefused(attempt=0, why=str(error)))
            self._next(ctx, 0)
            return
        self.packages[0], self.digests[0] = package, self._digest(package)
        if ctx.me in self.shares.get(0, {}):  # of an earlier life
            ctx.multicast(self.holders, self.shares[0][ctx.me])
        elif mine := [entry for entry in ahead.entries if entry.party == ctx.me]:
            if ahead.nonces is None or self.share is None:
                ctx.multicast(self.holders, Spent(0))
            else:
                self.nonces = ahead.nonces
                self.mine = Commitment(0, mine[0].hiding, mine[0].binding)
                self._sign(ctx, package)
        for party in self._waiting(0):
            self._judge(ctx, 0, party)
        self._go_on(ctx, 0)

    def _next(self, ctx: Ctx, attempt: int) -> None:
        """`attempt` came to nothing."""
        if self.outcome is None and attempt == self.attempt:
            self._begin(ctx, attempt + 1)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if self.outcome is not None:
            return
        if name == "tick":
            ctx.set_timer("tick", self.deadline // 16)
            self.patient = False
            self._pack(ctx)
            if self.mine is not None and self.attempt not in self.packages:
                ctx.send(self.leader(self.attempt), self.mine)
            ctx.multicast([p for p in self.holders if p != ctx.me], Resend(self.attempt))
            return
        package = self.packages.get(self.attempt)
        if ctx.me not in self.holders:
            self.slow.update(self.holders)  # as far as we can see
        elif package is None:
            self.slow.add(self.leader(self.attempt))
        else:
            here = self.shares.get(self.attempt, {})
            wrong = [p for p, share in here.items() if not self._right(package, p, share)]
            self._convict(ctx, wrong)
            self.slow.update(e.party for e in package.entries if e.party not in here)
        self._next(ctx, self.attempt)

    # --- messages -------------------------------------------------------------------------

    def on_message(
        self, ctx: Ctx, sender: Party, msg: Commitment | Package | Share | Signed | Resend | Spent
    ) -> None:
        if isinstance(msg, Signed):
            self._take(ctx, sender, msg.signature)
            return
        if isinstance(msg, Resend):
            self._help(ctx, sender, msg.attempt)
            return
        if sender not in self.holders:
            raise PeerFault(f"{type(msg).__name__} from a party that holds no share of this key")
        if not 0 <= msg.attempt < self.attempts:
            raise PeerFault("an attempt out of bounds")
        if self.signature:
            if msg.attempt > self.attempt:
                ctx.send(sender, Signed(self.signature))
            return
        if isinstance(msg, Commitment | Package) and self.is_ahead(msg.attempt):
            raise PeerFault(f"{type(msg).__name__} in the attempt that was prepared")
        match msg:
            case Spent():
                package = self.packages.get(msg.attempt)
                if not self.is_ahead(msg.attempt):
                    raise PeerFault("spent nonces that nobody had prepared")
                if package and sender in [entry.party for entry in package.entries]:
                    self._next(ctx, msg.attempt)
            case Commitment():
                self._offer(ctx, sender, msg)
            case Package():
                self._unpack(ctx, sender, msg)
            case Share():
                # A second one from the same signer changes nothing: the first is judged.
                self.shares.setdefault(msg.attempt, {}).setdefault(sender, msg)
                self._judge(ctx, msg.attempt, sender)
                self._go_on(ctx, msg.attempt)

    def _offer(self, ctx: Ctx, sender: Party, msg: Commitment) -> None:
        if ctx.me != self.leader(msg.attempt):
            raise PeerFault("a commitment for an attempt that another leads")
        group = self.key.suite.group
        try:
            group.decode_element(msg.hiding)
            group.decode_element(msg.binding)
        except EncodingError as error:
            self._convict(ctx, [sender], f"invalid nonce commitment: {error}")
            return
        # A holder that restarted commits anew: the latest counts.
        self.offers.setdefault(msg.attempt, {})[sender] = msg
        self._pack(ctx)

    def _pack(self, ctx: Ctx) -> None:
        """The leader's part: name the signers, once."""
        attempt = self.attempt
        if ctx.me != self.leader(attempt) or attempt in self.packages or self.share is None:
            return
        if attempt in self.packed:
            ctx.multicast(self.holders, self.packed[attempt])
            return
        offers = {p: o for p, o in self.offers.get(attempt, {}).items() if p not in self.bad}
        quick = [p for p in offers if p not in self.slow]
        chosen = quick if self.patient else [*quick, *(p for p in offers if p in self.slow)]
        if len(chosen) < self.record.threshold:
            return
        # §5.2: the Coordinator sends message and commitment list to each signer. The message is
        # known, as it was voted on; the leader says only whose commitments count.
        entries = tuple(
            Entry(p, offers[p].hiding, offers[p].binding)
            for p in sorted(chosen[: self.record.threshold])
        )
        package = Package(attempt, entries)
        signature = self.identity.sign(PACKAGE, *self._endorsed(attempt, self._digest(package)))
        package = msgspec.structs.replace(package, signature=signature)
        self.packed[attempt] = package
        ctx.persist(f"package/{attempt}", msgspec.msgpack.encode(package))
        ctx.multicast(self.holders, package)

    def _unpack(self, ctx: Ctx, sender: Party, package: Package) -> None:
        attempt = package.attempt
        if sender != self.leader(attempt):
            raise PeerFault("a package for an attempt that another leads")
        known = self.packages.get(attempt)
        if known == package:
            return
        if not self._endorses(attempt, self._digest(package), package.signature):
            raise PeerFault("a package that its leader did not sign")
        if known is not None:
            self._equivocated(ctx, attempt)
            return
        parties = [entry.party for entry in package.entries]
        try:
            if (
                parties != sorted(set(parties))
                or len(parties) != self.record.threshold
                or not set(parties) <= set(self.holders)
            ):
                raise EncodingError("not a set of signers")
            prepared(self.key, self.message, commitments_of(package))
        except (EncodingError, BadCommitment) as error:
            self._convict(ctx, [sender], f"led an attempt with {error}")
            self._next(ctx, attempt)
            return
        except CryptoError as error:  # the commitments cancel out: nobody's fault
            ctx.note(notes.PackageRefused(attempt=attempt, why=str(error)))
            self._next(ctx, attempt)
            return
        self.packages[attempt], self.digests[attempt] = package, self._digest(package)
        # Never skip to a later attempt because its leader says so: it might be the last one.
        if ctx.me in self.shares.get(attempt, {}):  # of an earlier life
            ctx.multicast(self.holders, self.shares[attempt][ctx.me])
        elif attempt == self.attempt and ctx.me in parties:
            self._sign(ctx, package)
        for party in self._waiting(attempt):
            self._judge(ctx, attempt, party)
        self._go_on(ctx, attempt)

    def _sign(self, ctx: Ctx, package: Package) -> None:
        nonces, mine = self.nonces, self.mine
        # From here on nobody can use these nonces again, whatever happens below.
        self.nonces = None
        if nonces is None or mine is None or self.share is None:
            return
        # §5.2, Round Two: each participant MUST validate its inputs; its own commitments are in
        # the list, and the nonces are deleted once they are used (here: before).
        if Entry(ctx.me, mine.hiding, mine.binding) not in package.entries:
            ctx.note(notes.PackageRefused(attempt=package.attempt, why="not our commitment"))
            return
        try:
            agreed = prepared(self.key, self.message, commitments_of(package))
            z = frost.sign_prepared(self.share, nonces, agreed)
        except CryptoError as error:
            ctx.note(notes.PackageRefused(attempt=package.attempt, why=str(error)))
            return
        ctx.note(notes.Round(round=2, of=3, attempt=package.attempt))
        share = Share(
            package.attempt,
            self._digest(package),
            package.signature,
            self.key.suite.group.encode_scalar(z),
        )
        ctx.persist(f"share/{package.attempt}", msgspec.msgpack.encode(share))
        ctx.multicast(self.holders, share)

    # --- shares ---------------------------------------------------------------------------

    def _waiting(self, attempt: int) -> tuple[Party, ...]:
        return tuple(self.shares.get(attempt, {}))

    def _judge(self, ctx: Ctx, attempt: int, sender: Party) -> None:
        """Is this share one under the package that we have?"""
        package = self.packages.get(attempt)
        share = self.shares.get(attempt, {}).get(sender)
        if package is None or share is None:
            return
        signers = [entry.party for entry in package.entries]
        ours = share.package == self.digests[attempt]
        if ours and sender in signers:
            return
        del self.shares[attempt][sender]
        if not ours and self._endorses(attempt, share.package, share.endorsed):
            self._equivocated(ctx, attempt)
        else:
            self._convict(ctx, [sender], "signed a package that no leader sent")

    def _go_on(self, ctx: Ctx, attempt: int) -> None:
        """With all shares of an attempt, there is a signature or somebody to blame."""
        package = self.packages.get(attempt)
        here = self.shares.get(attempt, {})
        if self.outcome is not None or package is None or len(here) < len(package.entries):
            return
        # §5.3: the Coordinator aggregates the shares and verifies the signature. Note: everyone is
        # a Coordinator here, and §5.4 (who sent a wrong share) is for when it does not hold.
        group = self.key.suite.group
        try:
            scalars = {p: group.decode_scalar(share.share) for p, share in here.items()}
            signature = add_up(
                self.key, self.message, commitments_of(package), tuple(sorted(scalars.items()))
            )
        except BadShare as error:
            self._convict(ctx, error.culprits)
        except EncodingError:
            self._convict(ctx, [p for p in here if not self._right(package, p, here[p])])
        except CryptoError as error:  # the commitments cancel out
            ctx.note(notes.PackageRefused(attempt=attempt, why=str(error)))
        else:
            if verify_again(self.key, self.message, signature):
                self._finish(ctx, signature)
                return
            ctx.note(notes.PackageRefused(attempt=attempt, why=DISAGREE))
        self._next(ctx, attempt)

    def _right(self, package: Package, party: Party, share: Share) -> bool:
        try:
            z = self.key.suite.group.decode_scalar(share.share)
            agreed = prepared(self.key, self.message, commitments_of(package))
            return frost.verify_prepared(agreed, party, z)
        except CryptoError:
            return False

    def _equivocated(self, ctx: Ctx, attempt: int) -> None:
        what = "signed two packages for one attempt"
        self._convict(ctx, [self.leader(attempt)], what, Strength.PROOF)
        self._next(ctx, attempt)

    def _convict(
        self,
        ctx: Ctx,
        parties: tuple[Party, ...] | list[Party],
        reason: str = "a wrong signature share",
        strength: Strength = Strength.KNOWN,
    ) -> None:
        for party in parties:
            if party not in self.bad:
                self.bad.add(party)
                ctx.blame(party, reason, strength)

    def _digest(self, package: Package) -> bytes:
        entries = tuple((e.party, e.hiding, e.binding) for e in package.entries)
        return digest("mpclab signing package", self.context, package.attempt, entries)

    def _endorsed(self, attempt: int, package: bytes) -> tuple[Part, ...]:
        """The parts that a leader signs: the digest of its package."""
        return self.context, attempt, package

    def _endorses(self, attempt: int, package: bytes, signature: bytes) -> bool:
        leader = self.keys[self.leader(attempt)]
        return genuine(leader, PACKAGE, self._endorsed(attempt, package), signature)

    # --- the end --------------------------------------------------------------------------

    def _take(self, ctx: Ctx, sender: Party, signature: bytes) -> None:
        """Someone has the signature: whether it is one can be seen."""
        if self.signature:
            return
        if not schnorr.verify(self.key.suite, self.key.public, self.message, signature):
            raise PeerFault("signature does not verify")
        if not verify_again(self.key, self.message, signature):
            # Valid by one library: nobody broke the protocol, and we give out what both accept.
            ctx.note(notes.PackageRefused(attempt=self.attempt, why=DISAGREE))
            return
        self._finish(ctx, signature)

    def _finish(self, ctx: Ctx, signature: bytes) -> None:
        self.signature, self.nonces = signature, None
        result = Signature(self.record, self.message, signature)
        ctx.note(notes.Signed(attempt=self.attempt, signature=signature.hex()[:16]))
        others = [p for p in ctx.members if p not in self.holders]
        if others and ctx.me in self.holders:
            ctx.multicast(others, Signed(signature))
        self._end(ctx, Finished(self.present(result)))

    def _abort(self, ctx: Ctx, reason: str) -> None:
        missing = tuple(sorted(self.slow - self.bad))
        self._end(ctx, Aborted(reason, missing=missing, blamed=tuple(sorted(self.bad))))

    def _end(self, ctx: Ctx, outcome: Finished[Any] | Aborted) -> None:
        self.outcome, self.nonces = outcome, None
        ctx.cancel_timer("attempt")
        ctx.cancel_timer("tick")
        ctx.output(outcome)

    def _help(self, ctx: Ctx, sender: Party, attempt: int) -> None:
        """Say again what `sender` may have missed; nothing is computed anew."""
        if self.signature:
            ctx.send(sender, Signed(self.signature))
            return
        package = self.packages.get(attempt)
        if package is None or sender not in self.holders:
            return
        if ctx.me == self.leader(attempt) and not self.is_ahead(attempt):
            ctx.send(sender, package)
        if (own := self.shares.get(attempt, {}).get(ctx.me)) is not None:
            ctx.send(sender, own)
