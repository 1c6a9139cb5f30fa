"""The facts of one dealing, and whom they convict.

Everything here is a pure function of signed messages, so parties that have heard the same convict
the same. Grounds of a conviction, with proof for everyone:

* a dealing that anybody can see is wrong (its form, its degree, a proof of possession);
* two dealings, acknowledgements or confirmations where there is one;
* a sealed share that does not fit the commitments, disclosed by its receiver;
* such a complaint when the share does fit, or when the disclosure is wrong;
* claiming to have seen a dealing that its dealer did not sign.

Where that was agreed on, a party is out too, and not convicted, when `threshold` others say that
it was silent: one of them is honest. Not more are left out than leave `fewest` in, those with the
smaller numbers first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto import feldman
from mpclab.crypto.errors import Blamed
from mpclab.crypto.groups import Group
from mpclab.mpc import envelopes
from mpclab.mpc.envelopes import SCALAR_BYTES, EncryptionContext
from mpclab.mpc.messages import (
    ABSENT,
    ACK,
    CONFIRM,
    DEAL,
    Absence,
    Ack,
    Complaint,
    Confirm,
    Deal,
    Equivocation,
    Receipt,
    absence_parts,
    ack_parts,
    confirm_parts,
    deal_hash,
    deal_parts,
    genuine,
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters that are fixed before anybody deals.

    Attributes:
        context: hash of the proposal and of what is dealt; in every signature and proof.
        keys: identity keys of all dealers and receivers.
        group: of the shares.
    """

    context: bytes
    dealers: tuple[Party, ...]
    receivers: tuple[Party, ...]
    keys: Mapping[Party, bytes]
    group: Group

    @property
    def participants(self) -> tuple[Party, ...]:
        return tuple(sorted({*self.dealers, *self.receivers}))

    def encryption_context(self, deal: Deal, receiver: Party) -> EncryptionContext:
        return EncryptionContext(
            self.context,
            deal.dealer,
            receiver,
            self.keys[receiver],
            deal.ephemeral,
            self.group.order,
        )


@dataclass(frozen=True, slots=True)
class Conviction:
    """Why a party is out, and the messages that convince everyone who hears them.

    Attributes:
        cheated: whether it is to blame; who is slow looks silent.
    """

    reason: str
    evidence: tuple[Message, ...]
    cheated: bool = True


@dataclass
class Facts:
    """The facts that one party has heard.

    Args:
        flaw: what anybody can see is wrong with a well-formed dealing, or None.
        commitments: the whole committed polynomial of a dealing.
        hidden_flaw: what is costly to see, and looked for when dealings do not `fit_together`, or
            when their dealer is accused or complained of.
    """

    parameters: Parameters
    flaw: Callable[[Deal], str | None]
    commitments: Callable[[Deal], tuple[bytes, ...]]
    hidden_flaw: Callable[[Deal], str | None] = lambda deal: None
    fit_together: Callable[[Mapping[Party, Deal]], bool] = lambda deals: True
    deals: dict[Party, Deal] = field(default_factory=dict)
    hashes: dict[Party, bytes] = field(default_factory=dict)
    acks: dict[tuple[int, Party], Ack] = field(default_factory=dict)
    confirms: dict[Party, Confirm] = field(default_factory=dict)
    convicted: dict[Party, Conviction] = field(default_factory=dict)
    absences: dict[Party, dict[Party, Absence]] = field(default_factory=dict)
    """Who is said to be silent, and by whom."""
    witnesses: int = 0
    """So many must say that a party is silent for it to be left out; 0: nobody is."""
    fewest: int = 0
    """So many at least are left when a silent one is left out (see `dealing`)."""
    fitting: tuple[Party, ...] = ()
    """The dealers whose dealings were last found to fit together."""
    ours: tuple[tuple[tuple[Party, ...], int], tuple[Receipt, ...]] = (((), 0), ())
    """Our receipts without those excluded, and how many dealings were here."""

    @property
    def excluded(self) -> tuple[Party, ...]:
        return tuple(sorted(self.convicted))

    @property
    def cheats(self) -> tuple[Party, ...]:
        """Those of them that are to blame."""
        return tuple(p for p in self.excluded if self.convicted[p].cheated)

    def receipt(self, dealer: Party) -> Receipt:
        return Receipt(dealer, self.hashes[dealer], self.deals[dealer].signature)

    def add(self, msg: Message, *, ours: bool = False) -> None:
        """Take in a fact, whoever brought it; `ours` needs no check.

        Raises:
            PeerFault: its author did not sign it, so who brought it is to blame.
        """
        match msg:
            case Deal():
                self._add_deal(msg, ours)
            case Ack():
                self._add_ack(msg, ours)
            case Confirm():
                self._add_confirm(msg, ours)
            case Equivocation():
                self._add_equivocation(msg)
            case Absence():
                self._add_absence(msg, ours)

    # --- dealings -------------------------------------------------------------------------

    def _add_deal(self, deal: Deal, ours: bool) -> None:
        dealer = deal.dealer
        if deal == self.deals.get(dealer):
            return
        if dealer not in self.parameters.dealers:
            raise PeerFault(f"brought a dealing of party {dealer}, which deals nothing")
        new = Receipt(dealer, deal_hash(self.parameters.context, deal), deal.signature)
        if not ours and not self._signed(new):
            raise PeerFault(f"brought a dealing that party {dealer} did not sign for this purpose")
        if dealer in self.deals:
            old = self.receipt(dealer)
            if new.hash != old.hash:
                self._convict(dealer, "signed two different dealings", Equivocation(old, new))
            return
        self.deals[dealer], self.hashes[dealer] = deal, new.hash
        if not ours and (flaw := self._flaw(deal)):
            self._convict(dealer, flaw, deal)
        for ack in list(self.acks.values()):
            self._examine(ack, dealer)

    def uncover(self, dealers: tuple[Party, ...]) -> bool:
        """Look at the dealings of these together; whether somebody was convicted by that."""
        if dealers == self.fitting:
            return False
        if self.fit_together({d: self.deals[d] for d in dealers}):
            self.fitting = dealers
            return False
        found = [self._uncover(d) for d in dealers]
        return any(found)

    def _uncover(self, dealer: Party) -> bool:
        """Look for a flaw that was hidden until now; whether there is one."""
        deal = self.deals.get(dealer)
        if deal is None or dealer in self.convicted:
            return False
        flaw = self.hidden_flaw(deal)
        if flaw is None:
            return False
        self._convict(dealer, flaw, deal)
        return True

    def _flaw(self, deal: Deal) -> str | None:
        ciphertexts = deal.ciphertexts
        if len(ciphertexts) != len(self.parameters.receivers):
            return "sealed shares to others than the receivers"
        if any(len(ciphertext) != SCALAR_BYTES for ciphertext in ciphertexts):
            return f"sealed share is not {SCALAR_BYTES} bytes"
        context = self.parameters.context
        wrong = one_time_flaw(context, deal.dealer, deal.ephemeral, deal.ephemeral_proof)
        if wrong is not None:
            return f"its one-time key: {wrong}"
        return self.flaw(deal)

    def _signed(self, receipt: Receipt) -> bool:
        parts = deal_parts(self.parameters.context, receipt.dealer, receipt.hash)
        return genuine(self.parameters.keys[receipt.dealer], DEAL, parts, receipt.signature)

    def _add_equivocation(self, proof: Equivocation) -> None:
        first, second = proof.first, proof.second
        dealer = first.dealer
        if (
            dealer not in self.parameters.dealers
            or second.dealer != dealer
            or first.hash == second.hash
            or not self._signed(first)
            or not self._signed(second)
        ):
            raise PeerFault("brought an invalid proof of equivocation")
        self._convict(dealer, "signed two different dealings", proof)

    # --- acknowledgements -----------------------------------------------------------------

    def _add_ack(self, ack: Ack, ours: bool) -> None:
        old = self.acks.get((ack.number, ack.party))
        if ack == old:
            return
        key = self.parameters.keys.get(ack.party)
        if ack.party not in self.parameters.participants or key is None:
            raise PeerFault(f"brought an acknowledgement of party {ack.party}, a non-participant")
        parts = ack_parts(self.parameters.context, ack)
        if not ours and not genuine(key, ACK, parts, ack.signature):
            raise PeerFault(f"brought an acknowledgement that party {ack.party} did not sign")
        if self._malformed(ack):
            self._convict(ack.party, "signed a malformed acknowledgement", ack)
            return
        if old is None:
            self.acks[ack.number, ack.party] = ack
        else:
            self._convict(ack.party, "acknowledged two different things", old, ack)
        for dealer in ack.excluded:
            self._uncover(dealer)
        if ack.complaints or ack.receipts != self._receipts(ack.excluded):
            for receipt in ack.receipts:
                self._examine(ack, receipt.dealer)

    def _receipts(self, excluded: tuple[Party, ...]) -> tuple[Receipt, ...]:
        """Ours, of all but these; fewer while dealings are missing."""
        for_whom, known = self.ours
        if for_whom != (excluded, len(self.deals)):
            dealers = self.parameters.dealers
            known = tuple(self.receipt(d) for d in dealers if d in self.deals and d not in excluded)
            self.ours = (excluded, len(self.deals)), known
        return known

    def _malformed(self, ack: Ack) -> bool:
        parameters = self.parameters
        out = ack.excluded
        accused = [complaint.dealer for complaint in ack.complaints]
        return (
            not 0 <= ack.number <= len(parameters.participants)
            or out != tuple(sorted(set(out)))
            or not set(out) <= set(parameters.participants)
            or [s.dealer for s in ack.receipts] != [d for d in parameters.dealers if d not in out]
            or accused != sorted(set(accused))
            or not set(accused) <= {s.dealer for s in ack.receipts}
            or (bool(accused) and ack.party not in parameters.receivers)
        )

    def _examine(self, ack: Ack, dealer: Party) -> None:
        """Compare what `ack` says of a dealer with the dealing that we have."""
        deal = self.deals.get(dealer)
        if dealer in ack.excluded:
            self._uncover(dealer)
        theirs = next((s for s in ack.receipts if s.dealer == dealer), None)
        if deal is None or theirs is None:
            return
        if theirs.hash != self.hashes[dealer]:
            if self._signed(theirs):
                proof = Equivocation(self.receipt(dealer), theirs)
                self._convict(dealer, "signed two different dealings", proof)
            else:
                what = f"claims a dealing that party {dealer} did not sign"
                self._convict(ack.party, what, deal, ack)
            return
        for complaint in ack.complaints:
            # Nobody honest complains of a share when everyone can see that the dealing is wrong.
            if complaint.dealer != dealer or self._flaw(deal) is not None:
                continue
            if not self._uncover(dealer):
                self._settle(ack, complaint, deal)

    def _settle(self, ack: Ack, complaint: Complaint, deal: Deal) -> None:
        receiver, parameters = ack.party, self.parameters
        ciphertext = deal.ciphertexts[parameters.receivers.index(receiver)]
        bound = parameters.encryption_context(deal, receiver)
        try:
            share = envelopes.open_disclosed(bound, complaint.point, complaint.proof, ciphertext)
        except Blamed as error:
            self._convict(receiver, f"complained of party {deal.dealer}: {error.reason}", deal, ack)
            return
        if feldman.verify(parameters.group, self.commitments(deal), receiver, share):
            what = f"complained of a share of party {deal.dealer} that is right"
            self._convict(receiver, what, deal, ack)
        else:
            self._convict(deal.dealer, f"dealt party {receiver} a wrong share", deal, ack)

    # --- confirmations --------------------------------------------------------------------

    def _add_confirm(self, confirm: Confirm, ours: bool) -> None:
        party = confirm.party
        old = self.confirms.get(party)
        if confirm == old:
            return
        if party not in self.parameters.participants:
            raise PeerFault(f"brought a confirmation of party {party}, a non-participant")
        parts = confirm_parts(self.parameters.context, party, confirm.digest)
        key = self.parameters.keys[party]
        if not ours and not genuine(key, CONFIRM, parts, confirm.signature):
            raise PeerFault(f"brought a confirmation that party {party} did not sign")
        if old is None:
            self.confirms[party] = confirm
        elif old.digest != confirm.digest:
            self._convict(party, "confirmed two different transcripts", old, confirm)

    # --- silence --------------------------------------------------------------------------

    def _add_absence(self, absence: Absence, ours: bool) -> None:
        party, participants = absence.party, self.parameters.participants
        if party not in participants or not set(absence.silent) <= set(participants):
            raise PeerFault("brought word of silence of or by a non-participant")
        parts = absence_parts(self.parameters.context, absence)
        key = self.parameters.keys[party]
        if not ours and not genuine(key, ABSENT, parts, absence.signature):
            raise PeerFault(f"brought word of silence that party {party} did not sign")
        for silent in absence.silent:
            self.absences.setdefault(silent, {}).setdefault(party, absence)
        self._leave_out()

    @property
    def unheard(self) -> tuple[Party, ...]:
        """Whom enough say that they do not hear; not all of them may be left out."""
        if not self.witnesses:
            return ()
        return tuple(p for p, said in sorted(self.absences.items()) if len(said) >= self.witnesses)

    def _leave_out(self) -> None:
        """Who is out without blame: the first of those unheard, as long as enough are left. It
        follows from what was said and from who cheated, in whatever order we heard of that; so it
        may change, as long as not all is known."""
        out = {p: c for p, c in self.convicted.items() if c.cheated}
        left = len(self.parameters.participants) - len(out)
        for party in self.unheard:
            if party not in out and left > self.fewest:
                said = tuple(a for _, a in sorted(self.absences[party].items()))
                out[party] = Conviction("was silent", said[: self.witnesses], cheated=False)
                left -= 1
        self.convicted = out

    def _convict(self, party: Party, reason: str, *evidence: Message) -> None:
        known = self.convicted.get(party)
        if known is None or not known.cheated:
            self.convicted[party] = Conviction(reason, evidence)
            self._leave_out()


@lru_cache(maxsize=4096)
def one_time_flaw(context: bytes, dealer: Party, public: bytes, proof: bytes) -> str | None:
    """The flaw of a one-time key or None, cached, since simulated parties share this process."""
    try:
        envelopes.check_ephemeral(context, dealer, public, proof)
    except Blamed as error:
        return error.reason
    return None
