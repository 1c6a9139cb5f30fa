"""`Roast`: signatures as soon as any t holders answer. ROAST (Ruffing, Ronge, Jin, Schneider-Bensch
and Schröder, CCS 2022) around FROST (RFC 9591), for one message or a batch of them.

A coordinator keeps a list of those who are *responsive*. When there are t of them it opens a
session with these and strikes them off the list; who answers with right shares, and with the
commitments for its next session, is on it again. A signer that is silent is in one session for ever
and stops no other; a wrong share names its sender, which is never asked again. So a session opens
whenever t honest holders have answered, and at most n - t + 1 are needed: no deadline is waited
for, whatever the delays are.

The coordinator might be the bad one. There are n - t + 1, and one of them is honest: the first
begins, each next one an eighth of a round later, unless there are signatures by then, and all go on
beside each other. (In the paper all begin at once: n - t + 1 times the messages where all is well.)

A batch has a commitment and a share for each message, in the same few messages: k signatures take
the time of one. Commitments come with the shares of the session before, so a second session takes
one exchange. A nonce is used once, leaves memory before its share is computed, and is never stored:
who restarts commits anew, which a coordinator accepts `RESTARTS` times of each.

Assumes fewer than t liars for unforgeability, and t honest holders that can talk to an honest
coordinator, for the end. Ends without a signature after four rounds' time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mpclab.core import notes
from mpclab.core.errors import PeerFault, Strength, UsageError
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.rounds import Aborted, Copied, Finished
from mpclab.core.wire import Message
from mpclab.crypto import frost, schnorr
from mpclab.crypto.errors import CryptoError, EncodingError
from mpclab.crypto.frost import Nonces, SigningCommitment
from mpclab.crypto.keys import KeyShare
from mpclab.crypto.transcript import digest
from mpclab.mpc.packages import Resend, Signature, add_up, prepared, verify_again
from mpclab.mpc.records import KeyRecord

RESTARTS = 2
"""Times that a coordinator lets a signer leave a session and commit anew."""
ROUNDS = 4
"""Rounds after which it ends without a signature."""


class Answer(Message, frozen=True):
    """To a coordinator: shares of the session with this digest (none at first), and commitments for
    the next one, each in the order of the messages."""

    session: bytes
    shares: tuple[bytes, ...]
    hiding: tuple[bytes, ...]
    binding: tuple[bytes, ...]


class Signer(Message, frozen=True):
    party: Party
    hiding: tuple[bytes, ...]
    binding: tuple[bytes, ...]


class Session(Message, frozen=True):
    """From a coordinator: these sign. `life` is drawn by it at each start, 16 bytes."""

    life: bytes
    signers: tuple[Signer, ...]


class AllSigned(Message, frozen=True):
    """In the order of the messages."""

    signatures: tuple[bytes, ...]


@dataclass(slots=True)
class _Open:
    """A session at its coordinator."""

    session: Session
    shares: dict[Party, tuple[int, ...]] = field(default_factory=dict)


class Roast(Machine):
    """Sign `contents` with a shared key.

    Args:
        context: hash of what was agreed.
        record: of the key; its holders sign, all others wait for the signatures.
        share: our share, if we have one.
        deadline: µs of one round.
        present: makes the result of `Finished` of one `Signature` for each message.
    """

    def __init__(
        self,
        context: bytes,
        record: KeyRecord,
        share: KeyShare | None,
        contents: tuple[bytes, ...],
        *,
        deadline: int = 10 * SECOND,
        present: Callable[[tuple[Signature, ...]], Any] = lambda result: result,
    ) -> None:
        if not contents:
            raise UsageError("there is nothing to sign")
        self.context = digest("mpclab roast", context, record.public, contents)
        self.record, self.key, self.contents = record, record.key(), contents
        if share is not None and share.key != self.key:
            raise UsageError("the share is one of another key")
        self.share, self.deadline, self.present = share, deadline, present
        holders, first = record.holders, int.from_bytes(self.context[:8])
        order = [holders[(first + i) % len(holders)] for i in range(len(holders))]
        self.coordinators = tuple(order[: len(holders) - record.threshold + 1])
        self.most = (len(holders) - record.threshold) * (1 + RESTARTS) + 1 + RESTARTS
        self.begun = 0  # coordinators that work
        # As a signer, by coordinator:
        self.nonces: dict[Party, list[Nonces]] = {}
        self.mine: dict[Party, Answer] = {}
        self.answered: dict[Party, int] = {}
        # As a coordinator:
        self.life = b""
        self.responsive: dict[Party, Answer] = {}
        self.last: dict[Party, Answer] = {}
        self.waiting: dict[Party, bytes] = {}  # for an answer in which session
        self.used: dict[Party, set[tuple[bytes, ...]]] = {}  # commitments of answered sessions
        self.restarts: dict[Party, int] = {}
        self.sessions: dict[bytes, _Open] = {}
        self.bad: set[Party] = set()
        self.signatures: tuple[bytes, ...] = ()
        self.outcome: Finished[Any] | Aborted | None = None

    @property
    def holders(self) -> tuple[Party, ...]:
        return self.record.holders

    # --- beginning, and time --------------------------------------------------------------

    def start(self, ctx: Ctx) -> None:
        self.life = ctx.rng.randbytes(16)
        ctx.set_timer("end", ROUNDS * self.deadline)
        ctx.set_timer("tick", self.deadline // 16)
        self._begin_next(ctx)

    def _begin_next(self, ctx: Ctx) -> None:
        """Offer ourselves to one more coordinator."""
        coordinator = self.coordinators[self.begun]
        self.begun += 1
        if self.begun < len(self.coordinators):
            ctx.set_timer("next", self.deadline // 8)
        ctx.note(notes.Round(round=1, of=3, attempt=self.begun - 1, leader=coordinator))
        if self.share is not None and ctx.me in self.holders:
            self._commit(ctx, coordinator, b"", ())
            ctx.send(coordinator, self.mine[coordinator])

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if self.outcome is not None:
            return
        if name == "next":
            self._begin_next(ctx)
        elif name == "tick":  # something may have been lost
            ctx.set_timer("tick", self.deadline // 16)
            for coordinator, answer in self.mine.items():
                ctx.send(coordinator, answer)
            if not self.mine:
                ctx.multicast(self.holders, Resend(0))
        else:
            silent = tuple(p for p in self.holders if p not in self.last) if self.last else ()
            why = f"fewer than {self.record.threshold} holders gave a right share in time"
            self._end(ctx, Aborted(why, missing=silent, blamed=tuple(sorted(self.bad))))

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        if isinstance(ask, Copied):  # what we drew is gone, as after a restart
            for coordinator in list(self.nonces):
                self._commit(ctx, coordinator, b"", ())
                ctx.send(coordinator, self.mine[coordinator])

    # --- a signer -------------------------------------------------------------------------

    def _commit(
        self, ctx: Ctx, coordinator: Party, session: bytes, shares: tuple[bytes, ...]
    ) -> None:
        """RFC 9591 §5.1, once for each message."""
        assert self.share is not None
        made = [frost.commit(self.share, ctx.rng) for _ in self.contents]
        self.nonces[coordinator] = [nonces for nonces, _ in made]
        self.mine[coordinator] = Answer(
            session,
            shares,
            tuple(commitment.hiding for _, commitment in made),
            tuple(commitment.binding for _, commitment in made),
        )

    def _sign(self, ctx: Ctx, coordinator: Party, session: Session) -> None:
        mine = self.mine.get(coordinator)
        if self.share is None or mine is None:
            return
        if Signer(ctx.me, mine.hiding, mine.binding) not in session.signers:
            return  # of our life before, or answered already: we say our answer again in time
        nonces = self.nonces.pop(coordinator, None)  # nobody can use these again
        if nonces is None or self.answered.get(coordinator, 0) >= self.most:
            return
        self.answered[coordinator] = self.answered.get(coordinator, 0) + 1
        try:
            # §5.2, Round Two: validate the inputs. Our own commitments are among them, see above.
            shares = tuple(
                frost.sign_prepared(self.share, nonce, self._prepared(session, i))
                for i, nonce in enumerate(nonces)
            )
        except (CryptoError, PeerFault) as error:  # an honest coordinator asks for no such thing
            ctx.note(notes.PackageRefused(attempt=0, why=str(error)))
            return
        ctx.note(notes.Round(round=2, of=3, attempt=self.coordinators.index(coordinator)))
        encode = self.key.suite.group.encode_scalar
        self._commit(ctx, coordinator, self._digest(session), tuple(map(encode, shares)))
        ctx.send(coordinator, self.mine[coordinator])

    def _prepared(self, session: Session, i: int) -> frost.Attempt:
        return prepared(self.key, self.contents[i], self._commitments(session, i))

    def _commitments(self, session: Session, i: int) -> tuple[SigningCommitment, ...]:
        parties = [signer.party for signer in session.signers]
        count = len(self.contents)
        if (
            parties != sorted(set(parties) & set(self.holders))
            or len(parties) != self.record.threshold
            or any(len(s.hiding) != count or len(s.binding) != count for s in session.signers)
        ):
            raise PeerFault("a session of others than the threshold's number of holders")
        return tuple(SigningCommitment(s.party, s.hiding[i], s.binding[i]) for s in session.signers)

    def _digest(self, session: Session) -> bytes:
        signers = tuple((s.party, s.hiding, s.binding) for s in session.signers)
        return digest("mpclab roast session", self.context, session.life, signers)

    # --- a coordinator --------------------------------------------------------------------

    def _take_answer(self, ctx: Ctx, sender: Party, answer: Answer) -> None:
        if ctx.me not in self.coordinators:
            raise PeerFault("an answer to a party that coordinates nothing")
        if sender in self.bad:
            return
        if answer == self.last.get(sender):  # said again: perhaps our session was lost
            if sender in self.waiting:
                ctx.send(sender, self.sessions[self.waiting[sender]].session)
            return
        if not self._well_formed(answer):
            self._convict(ctx, sender, "invalid nonce commitment")
            return
        found = self.sessions.get(answer.session)
        was_answered = found is not None and self.waiting.get(sender) != answer.session
        if was_answered or answer.hiding in self.used.get(sender, ()):
            return  # said before what we have, and come late: nobody signs with these any more
        if found is not None and self.waiting.get(sender) == answer.session:
            shares = self._right_shares(found.session, sender, answer)
            if shares is None:
                self._convict(ctx, sender, "a wrong signature share")
                return
            found.shares[sender] = shares
            self.used.setdefault(sender, set()).add(self.last[sender].hiding)
        elif sender in self.waiting:  # it was restarted, or says so
            self.restarts[sender] = self.restarts.get(sender, 0) + 1
            if self.restarts[sender] > RESTARTS:
                return
        self.waiting.pop(sender, None)
        self.last[sender] = self.responsive[sender] = answer
        if found is not None and len(found.shares) == self.record.threshold:
            self._add_up(ctx, found)
        if self.outcome is None and len(self.responsive) == self.record.threshold:
            self._open_session(ctx)

    def _well_formed(self, answer: Answer) -> bool:
        count, decode = len(self.contents), self.key.suite.group.decode_element
        try:
            for element in (*answer.hiding, *answer.binding):
                decode(element)
        except EncodingError:
            return False
        return len(answer.hiding) == len(answer.binding) == count

    def _right_shares(
        self, session: Session, party: Party, answer: Answer
    ) -> tuple[int, ...] | None:
        if len(answer.shares) != len(self.contents):
            return None
        try:
            shares = tuple(map(self.key.suite.group.decode_scalar, answer.shares))
        except CryptoError:
            return None
        for i, share in enumerate(shares):
            if not frost.verify_prepared(self._prepared(session, i), party, share):
                return None
        return shares

    def _open_session(self, ctx: Ctx) -> None:
        signers = tuple(
            Signer(p, answer.hiding, answer.binding)
            for p, answer in sorted(self.responsive.items())
        )
        self.responsive.clear()
        session = Session(self.life, signers)
        try:
            for i in range(len(self.contents)):
                self._prepared(session, i)
        except CryptoError as error:  # the commitments cancel out: nobody's fault
            ctx.note(notes.PackageRefused(attempt=len(self.sessions), why=str(error)))
            return
        found = self._digest(session)
        self.sessions[found] = _Open(session)
        for signer in signers:
            self.waiting[signer.party] = found
        ctx.multicast([signer.party for signer in signers], session)

    def _add_up(self, ctx: Ctx, found: _Open) -> None:
        signatures = []
        for i, message in enumerate(self.contents):
            shares = tuple(sorted((p, given[i]) for p, given in found.shares.items()))
            try:
                made = add_up(self.key, message, self._commitments(found.session, i), shares)
            except CryptoError as error:  # each share was right
                ctx.note(notes.PackageRefused(attempt=len(self.sessions), why=str(error)))
                return
            signatures.append(made)
        if self._all_valid(tuple(signatures)):
            self._finish(ctx, tuple(signatures))

    def _convict(self, ctx: Ctx, party: Party, reason: str) -> None:
        self.bad.add(party)
        self.responsive.pop(party, None)
        ctx.blame(party, reason, Strength.KNOWN)

    # --- messages, and the end ------------------------------------------------------------

    def on_message(
        self, ctx: Ctx, sender: Party, msg: Answer | Session | AllSigned | Resend
    ) -> None:
        if self.signatures:
            if not isinstance(msg, AllSigned):
                ctx.send(sender, AllSigned(self.signatures))
            return
        match msg:
            case AllSigned(signatures):
                if len(signatures) != len(self.contents) or not all(
                    schnorr.verify(self.key.suite, self.key.public, message, signature)
                    for message, signature in zip(self.contents, signatures, strict=True)
                ):
                    raise PeerFault("signature does not verify")
                if self._all_valid(signatures):
                    self._finish(ctx, signatures)
            case Answer() | Session() if sender not in self.holders:
                raise PeerFault(
                    f"{type(msg).__name__} from a party that holds no share of this key"
                )
            case Answer() if self.outcome is None:
                self._take_answer(ctx, sender, msg)
            case Session() if self.outcome is None:
                if sender not in self.coordinators:
                    raise PeerFault("a session of a party that coordinates nothing")
                self._sign(ctx, sender, msg)

    def _all_valid(self, signatures: tuple[bytes, ...]) -> bool:
        """Both libraries say so."""
        pairs = zip(self.contents, signatures, strict=True)
        return all(verify_again(self.key, message, signature) for message, signature in pairs)

    def _finish(self, ctx: Ctx, signatures: tuple[bytes, ...]) -> None:
        self.signatures = signatures
        ctx.note(notes.Signed(attempt=len(self.sessions), signature=signatures[0].hex()[:16]))
        if ctx.me in self.holders:  # who hears of it first may be the only one
            ctx.multicast(ctx.others, AllSigned(signatures))
        made = zip(self.contents, signatures, strict=True)
        self._end(ctx, Finished(self.present(tuple(Signature(self.record, m, s) for m, s in made))))

    def _end(self, ctx: Ctx, outcome: Finished[Any] | Aborted) -> None:
        self.outcome = outcome
        self.nonces.clear()
        for timer in ("next", "tick", "end"):
            ctx.cancel_timer(timer)
        ctx.output(outcome)
