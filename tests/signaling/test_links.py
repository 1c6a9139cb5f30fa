"""One end of one link, alone: every message by hand, and each of the ways to cheat with it."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core import SECOND, Frame, Node
from mpclab.core.effects import (
    AddCandidates,
    Asked,
    Blame,
    Delivered,
    Described,
    Effect,
    HangUp,
    LinkClosed,
    LinkOpened,
    MakeAnswer,
    MakeOffer,
    Output,
    Route,
    Send,
    Started,
    TakeAnswer,
    TimerFired,
)
from mpclab.core.notes import UnconfirmedDropped
from mpclab.core.peers import PeerDown, PeerUp
from mpclab.core.wire import Message
from mpclab.crypto.errors import SealError
from mpclab.signaling import relay
from mpclab.signaling.events import Arrived, KnowServer, Membership, Present, RelayRequest
from mpclab.signaling.mesh import Beat, Mesh, Rehomed, TellServer
from mpclab.signaling.messages import (
    PRESENCE_LABEL,
    Answer,
    Member,
    Offer,
    Sealed,
    decode_payload,
    presence_parts,
)
from mpclab.signaling.negotiate import (
    MAX_SDP,
    Confirm,
    Pair,
    offer_hash,
    sign_answer,
    sign_confirm,
    sign_offer,
)
from mpclab.signaling.peer_link import MOVES, Link, MeshSettings
from mpclab.signaling.relay import (
    PIECE,
    WINDOW,
    Candidates,
    Channel,
    Hello,
    OfferRequest,
    Piece,
    Taken,
    pack,
)
from tests.signaling.bench import identity, notes, of

PATH = ("mesh",)
LIVES = {p: bytes([p]) * 16 for p in range(1, 5)}


def print_of(party: int) -> str:
    return ":".join([f"{party:02X}"] * 32)


def sdp(party: int) -> str:
    return f"v=0\r\na=ice-ufrag:{party}\r\na=fingerprint:sha-256 {print_of(party).lower()}\r\n"


def member(party: int, incarnation: bytes | None = None) -> Member:
    incarnation = incarnation or LIVES[party]
    presence = identity(party).sign(PRESENCE_LABEL, *presence_parts("s", party, incarnation, 1))
    return Member(party, identity(party).public, incarnation, 1, presence)


def pair(sender: int, receiver: int, session: str = "s") -> Pair:
    return Pair(session, sender, receiver, LIVES[sender], LIVES[receiver])


class End:
    """The mesh of party `me` among 4, alone; party `peer` is the test itself."""

    def __init__(self, me: int, peer: int) -> None:
        self.me, self.peer = me, peer
        membership = Membership("s", me, 4, 1, "unanimous", identity(me), LIVES[me], 1)
        self.mesh = Mesh(membership)
        self.node = Node(me, 4, self.mesh, at=PATH, carrier=PATH, coins=lambda _: random.Random(me))
        self.now = 0
        self.ids = 0
        self.channel = Channel(identity(peer), identity(me).public, pair(peer, me))
        self.node.step(Started(), 0)
        self.first = self.ask(Present(member(peer)))

    @property
    def link(self) -> Link:
        return self.mesh.links[self.peer]

    def ask(self, ask: Any) -> list[Effect]:
        return self.node.step(Asked(PATH, ask), self.now)

    def get(self, payload: Message) -> list[Effect]:
        """A payload from the peer, by the server."""
        return self.ask(Arrived(self.peer, payload))

    def sealed(self, content: Any) -> list[Effect]:
        return self.get(self.channel.close(content))

    def on_link(self, msg: Message, sender: int | None = None) -> list[Effect]:
        self.ids += 1
        frame = Frame(self.ids, PATH, body=msgspec.msgpack.encode(msg))
        return self.node.step(Delivered(sender or self.peer, frame), self.now)

    def host(self, event: Any) -> list[Effect]:
        return self.node.step(event, self.now)

    def describe(self, kind: str) -> list[Effect]:
        attempt = self.link.last_attempt
        return self.host(Described(PATH, self.peer, attempt, kind, sdp(self.me), ("cand",)))

    def open(self, theirs: str = "", ours: str = "") -> list[Effect]:
        ours, theirs = ours or print_of(self.me), theirs or print_of(self.peer)
        return self.host(LinkOpened(PATH, self.peer, self.link.last_attempt, ours, theirs))

    def posted(self, effects: list[Effect]) -> list[Any]:
        """Payloads that go to the server; what is sealed for the peer is opened."""
        found: list[Any] = []
        for effect in of(effects, Output):
            if isinstance(effect.value, RelayRequest):
                for _, payload in effect.value.envelopes:
                    msg = decode_payload(payload)
                    found.append(self.channel.open(msg) if isinstance(msg, Sealed) else msg)
        return found


def answering() -> tuple[End, Offer]:
    """Party 3, to whom party 1 has sent a good offer."""
    end = End(3, 1)
    offer = sign_offer(
        identity(1), pair(1, 3), epoch=1, nonce=b"n" * 16, attempt=1, expires=SECOND, sdp=sdp(1)
    )
    return end, offer


def connecting() -> tuple[End, bytes]:
    """Party 3 after it has answered; the offer's hash."""
    end, offer = answering()
    end.get(offer)
    end.describe("answer")
    return end, offer_hash(pair(1, 3), offer)


def blamed(effects: list[Effect]) -> list[tuple[int | None, str]]:
    return [(b.party, str(b.strength)) for b in of(effects, Blame)]


# --- the good course ----------------------------------------------------------------------


def test_the_lower_id_offers_and_confirms() -> None:
    end = End(1, 3)
    assert of(end.first, MakeOffer) == [MakeOffer(PATH, 3, 1)]
    offer, candidates = end.posted(end.describe("offer"))
    assert isinstance(offer, Offer)
    name = offer_hash(pair(1, 3), offer)
    assert candidates == Candidates(name, ("cand",))
    answer = sign_answer(identity(3), pair(3, 1), epoch=1, nonce=b"m" * 16, offer=name, sdp=sdp(3))
    assert of(end.get(answer), TakeAnswer) == [TakeAnswer(PATH, 3, 1, sdp(3))]
    added = end.sealed(Candidates(name, ("theirs",)))
    assert of(added, AddCandidates) == [AddCandidates(PATH, 3, 1, ("theirs",))]
    [confirm] = [e.frame.msg for e in of(end.open(), Send)]
    assert confirm == sign_confirm(identity(1), pair(1, 3), name, print_of(1), print_of(3))
    assert end.node.routes == {}
    good = sign_confirm(identity(3), pair(3, 1), name, print_of(3), print_of(1))
    effects = end.on_link(good)
    assert of(effects, Route) == [Route(PATH, 3, "link")]
    assert [e.value for e in of(effects, Output)] == [PeerUp(3, "link")]
    assert end.link.state == "up"


def test_the_higher_id_answers_and_keeps_early_candidates() -> None:
    end, offer = answering()
    assert not of(end.first, MakeOffer)
    assert of(end.get(offer), MakeAnswer) == [MakeAnswer(PATH, 1, 1, sdp(1))]
    name = offer_hash(pair(1, 3), offer)
    assert not of(end.sealed(Candidates(name, ("early",))), AddCandidates)
    effects = end.describe("answer")
    answer, _ = end.posted(effects)
    assert isinstance(answer, Answer)
    assert answer.offer == name
    assert of(effects, AddCandidates) == [AddCandidates(PATH, 1, 1, ("early",))]


def test_a_confirmation_that_overtakes_our_own_news_is_kept() -> None:
    end, name = connecting()
    early = sign_confirm(identity(1), pair(1, 3), name, print_of(1), print_of(3))
    assert of(end.on_link(early), Route) == []
    assert of(end.open(), Route) == [Route(PATH, 1, "link")]


def test_a_lost_confirmation_is_repeated_and_answered_once() -> None:
    end, name = connecting()
    end.open()
    end.now = SECOND
    assert [e.frame.kind for e in of(end.host(TimerFired(PATH, "confirm-1")), Send)] == ["Confirm"]
    theirs = sign_confirm(identity(1), pair(1, 3), name, print_of(1), print_of(3))
    end.on_link(theirs)
    [again] = of(end.on_link(theirs), Send)  # they have not got ours
    assert again.frame.msg.seen
    assert of(end.on_link(msgspec.structs.replace(theirs, seen=True)), Send) == []


# --- offers that are no offers ------------------------------------------------------------


def changed(offer: Offer, **fields: Any) -> Offer:
    return msgspec.structs.replace(offer, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"sdp": sdp(2)},
        {"attempt": 2},
        {"epoch": 2},
        {"expires": 2 * SECOND},
        {"nonce": b"x" * 16},
        {"signature": b"s" * 64},
        {"signature": b""},
        {"nonce": b""},
        {"attempt": 0},
        {"sdp": "v=0\r\n"},
        {"sdp": "a=fingerprint:sha-256 AA\r\n" + "x" * MAX_SDP},
        {"sdp": "".join(f"a=fingerprint:sha-256 {i:02X}\r\n" for i in range(9))},
    ],
    ids=str,
)
def test_a_changed_offer_is_refused_with_blame(fields: dict[str, Any]) -> None:
    end, offer = answering()
    effects = end.get(changed(offer, **fields))
    assert blamed(effects) == [(1, "suspect")]
    assert not of(effects, MakeAnswer)
    assert of(end.get(offer), MakeAnswer)  # and does not spoil the good one


@pytest.mark.parametrize(
    "other",
    [pair(1, 2), pair(2, 3), pair(3, 1), pair(1, 3, "t"), Pair("s", 1, 3, b"?" * 16, LIVES[3])],
    ids=["to another", "of another", "back", "other session", "other incarnation"],
)
def test_an_offer_signed_for_something_else_is_refused(other: Pair) -> None:
    end, _ = answering()
    signed = sign_offer(
        identity(1), other, epoch=1, nonce=b"n" * 16, attempt=1, expires=SECOND, sdp=sdp(1)
    )
    effects = end.get(changed(signed, to_incarnation=LIVES[3]))
    assert blamed(effects) == [(1, "suspect")]


def test_an_offer_for_an_earlier_life_of_ours_or_a_late_one_is_stale_and_nobodys_fault() -> None:
    for fields in ({"to_incarnation": b"?" * 16}, {"expires": -1}):
        end, offer = answering()
        effects = end.get(changed(offer, **fields))
        assert notes(effects, "stale-offer")
        assert blamed(effects) == []
        assert not of(effects, MakeAnswer)


def test_an_offer_counts_once() -> None:
    end, offer = answering()
    end.get(offer)
    effects = end.get(offer)
    assert blamed(effects) == [(0, "suspect")]
    assert not of(effects, MakeAnswer)


def test_the_side_that_answers_does_not_offer() -> None:
    end = End(1, 3)
    offer = sign_offer(
        identity(3), pair(3, 1), epoch=1, nonce=b"n" * 16, attempt=1, expires=SECOND, sdp=sdp(3)
    )
    assert blamed(end.get(offer)) == [(3, "suspect")]


def test_an_answer_to_another_offer_is_stale_and_a_forged_one_is_blamed() -> None:
    end = End(1, 3)
    offer = end.posted(end.describe("offer"))[0]
    name = offer_hash(pair(1, 3), offer)

    def answer(signer: int, offer: bytes) -> Answer:
        return sign_answer(
            identity(signer), pair(3, 1), epoch=1, nonce=b"m" * 16, offer=offer, sdp=sdp(3)
        )

    assert notes(end.get(answer(3, b"o" * 32)), "stale-answer")
    assert blamed(end.get(answer(2, name))) == [(3, "suspect")]
    assert of(end.get(answer(3, name)), TakeAnswer)


def test_an_answer_to_an_earlier_life_of_ours_is_stale() -> None:
    end = End(1, 3)
    offer = end.posted(end.describe("offer"))[0]
    name = offer_hash(pair(1, 3), offer)
    answer = sign_answer(identity(3), pair(3, 1), epoch=1, nonce=b"m" * 16, offer=name, sdp=sdp(3))
    effects = end.get(msgspec.structs.replace(answer, to_incarnation=b"?" * 16))
    assert notes(effects, "stale-answer")
    assert (of(effects, TakeAnswer), blamed(effects)) == ([], [])
    assert of(end.get(answer), TakeAnswer)


# --- confirmations that are none ----------------------------------------------------------


def test_a_link_with_another_certificate_than_was_signed_is_hung_up() -> None:
    end, _ = connecting()
    effects = end.open(theirs=print_of(4))
    assert blamed(effects) == [(1, "suspect")]
    assert [(e.peer, e.attempt) for e in of(effects, HangUp)] == [(1, 1)]
    assert of(effects, Send) == []
    assert end.link.state == "idle"


def test_a_link_on_which_our_own_certificate_is_another_than_we_signed_is_hung_up() -> None:
    end, _ = connecting()
    effects = end.open(ours=print_of(4))
    assert blamed(effects) == [(1, "suspect")]
    assert of(effects, HangUp)
    assert of(effects, Send) == []
    assert end.link.state == "idle"


OTHER_LIFE = b"?" * 16


@pytest.mark.parametrize(
    "fields",
    [
        {"pair": pair(2, 3)},
        {"pair": pair(1, 2)},
        {"pair": pair(1, 3, "t")},
        {"pair": Pair("s", 1, 3, OTHER_LIFE, LIVES[3])},
        {"pair": Pair("s", 1, 3, LIVES[1], OTHER_LIFE)},
        {"offer": b"o" * 32},
        {"mine": print_of(4)},
        {"yours": print_of(4)},
    ],
    ids=[
        "from 2",
        "for 2",
        "session",
        "its incarnation",
        "our incarnation",
        "offer",
        "mine",
        "yours",
    ],
)
def test_a_signature_confirms_what_it_was_made_for_and_nothing_else(fields: dict[str, Any]) -> None:
    """The message says all that is right; the signature in it was made with one thing different."""
    end, name = connecting()
    end.open()
    right = {"pair": pair(1, 3), "offer": name, "mine": print_of(1), "yours": print_of(3)}
    other = sign_confirm(identity(1), **(right | fields))  # type: ignore[arg-type]
    good = sign_confirm(identity(1), **right)  # type: ignore[arg-type]
    effects = end.on_link(msgspec.structs.replace(good, signature=other.signature))
    assert blamed(effects) == [(1, "suspect")]
    assert of(effects, Route) == []
    assert end.link.state == "idle"


@pytest.mark.parametrize(
    ("signer", "signed", "mine", "yours"),
    [
        (2, pair(1, 3), print_of(1), print_of(3)),
        (1, pair(1, 2), print_of(1), print_of(3)),
        (1, pair(1, 3, "t"), print_of(1), print_of(3)),
        (1, pair(3, 1), print_of(1), print_of(3)),
        (1, pair(1, 3), print_of(1), print_of(4)),
        (1, pair(1, 3), print_of(4), print_of(3)),
    ],
    ids=["member re-signs", "meant for 2", "session", "reflected", "middle", "middle too"],
)
def test_a_wrong_confirmation_ends_the_link_with_blame(
    signer: int, signed: Pair, mine: str, yours: str
) -> None:
    """Re-signing another's description does not help: its owner confirms to be somebody else."""
    end, name = connecting()
    end.open()
    effects = end.on_link(sign_confirm(identity(signer), signed, name, mine, yours))
    assert blamed(effects) == [(1, "suspect")]
    assert of(effects, HangUp)
    assert of(effects, Route) == []
    assert end.link.state == "idle"


def test_nothing_else_is_taken_before_the_confirmation() -> None:
    end, _ = connecting()
    end.open()
    assert notes(end.on_link(Beat()), "unconfirmed-dropped")
    frame = Frame(1, ("app",), body=b"secret business")
    [dropped] = end.host(Delivered(1, frame))
    assert dropped.note == UnconfirmedDropped(1, "?")


def test_an_unconfirmed_link_is_given_ten_seconds() -> None:
    end, _ = connecting()
    end.open()
    end.now = 10 * SECOND
    effects = end.host(TimerFired(PATH, "attempt-1"))
    assert of(effects, HangUp)
    assert end.link.state == "idle"
    assert end.link.failures == 1


def test_a_late_event_of_an_attempt_that_was_given_up_changes_nothing() -> None:
    end, _ = connecting()
    assert end.host(LinkClosed(PATH, 1, 99, "late")) == []
    assert end.host(LinkOpened(PATH, 1, 99, "", "")) == []
    assert end.link.state == "connecting"


# --- incarnations --------------------------------------------------------------------------------


def up() -> tuple[End, bytes]:
    end, name = connecting()
    end.open()
    end.on_link(sign_confirm(identity(1), pair(1, 3), name, print_of(1), print_of(3)))
    assert end.link.state == "up"
    return end, name


def test_a_card_alone_does_not_cut_a_link_but_a_proof_does() -> None:
    """The server may show any presence that a party ever signed; only the living can answer."""
    end, _ = up()
    new = b"N" * 16
    effects = end.ask(Present(member(1, new)))
    assert of(effects, Route) == []
    assert end.link.state == "up"
    pair_now = Pair("s", 1, 3, new, LIVES[3])
    end.channel = Channel(identity(1), identity(3).public, pair_now)
    [asked] = end.posted(effects)
    assert asked == Hello(reply=False, relay=False, nonce=asked.nonce)
    assert len(asked.nonce) == 16
    effects = end.sealed(Hello(reply=True, relay=False, nonce=asked.nonce))
    assert of(effects, Route) == [Route(PATH, 1, "none")]
    assert [e.value for e in of(effects, Output)] == [PeerDown(1, "the peer started anew")]
    # The old incarnation is over: its presence is refused from now on.
    assert notes(end.ask(Present(member(1))), "stale-card")


def speaks_for(end: End, incarnation: bytes) -> Channel:
    """Party 1's side of its channel to party 3, in that incarnation."""
    return Channel(identity(1), identity(3).public, Pair("s", 1, 3, incarnation, LIVES[3]))


def hellos(end: End, effects: list[Effect], incarnation: Channel) -> list[Hello]:
    end.channel = incarnation
    return [found for found in end.posted(effects) if isinstance(found, Hello)]


OLD = b"O" * 16


@pytest.mark.parametrize(
    "withheld",
    [
        Hello(reply=False, relay=True, nonce=b"x" * 16),
        Hello(reply=True, relay=True),
        OfferRequest(b""),
    ],
    ids=["hello", "answer", "nudge"],
)
def test_a_box_withheld_since_an_older_life_does_not_cut_a_link(withheld: Any) -> None:
    """The box is genuine, and was sealed for our present incarnation: only no answer to us."""
    end, _ = up()
    box = speaks_for(end, OLD).close(withheld)
    end.ask(Present(member(1, OLD)))
    effects = end.get(box)
    assert of(effects, Route) == []
    assert end.link.state == "up"
    assert blamed(effects) == []


def test_an_offer_withheld_since_an_older_life_does_not_cut_a_link_but_waits_for_proof() -> None:
    end, _ = up()
    old = Pair("s", 1, 3, OLD, LIVES[3])
    offer = sign_offer(
        identity(1), old, epoch=1, nonce=b"n" * 16, attempt=1, expires=SECOND, sdp=sdp(1)
    )
    asked = hellos(end, end.ask(Present(member(1, OLD))), speaks_for(end, OLD))[0]
    effects = end.get(offer)
    assert (of(effects, Route), of(effects, MakeAnswer)) == ([], [])
    assert end.link.state == "up"
    # It was no old incarnation after all: then its offer is taken up.
    effects = end.sealed(Hello(reply=True, relay=False, nonce=asked.nonce))
    assert of(effects, Route) == [Route(PATH, 1, "none")]
    assert len(of(effects, MakeAnswer)) == 1


def test_a_proof_is_later_than_every_card_that_we_have_seen() -> None:
    """An answer to a challenge from before the last presence would close out the newer one."""
    end, _ = up()
    first, second = speaks_for(end, OLD), speaks_for(end, b"N" * 16)
    asked = hellos(end, end.ask(Present(member(1, OLD))), first)[0]
    end.ask(Present(member(1, b"N" * 16)))
    end.get(first.close(Hello(reply=True, relay=False, nonce=asked.nonce)))
    assert end.link.state == "up"
    asked = hellos(end, end.ask(Present(member(1, b"N" * 16))), second)[0]
    end.get(second.close(Hello(reply=True, relay=False, nonce=asked.nonce)))
    assert end.link.incarnation is not None
    assert end.link.incarnation.member.incarnation == b"N" * 16
    assert end.link.past == {LIVES[1], OLD}


def test_a_life_whose_card_was_replaced_by_an_old_one_is_taken_up_again() -> None:
    """No link is up: the server shows an old presence, and later the present one once more."""
    end = End(3, 1)
    box = end.channel.close(Hello(reply=False, relay=True))
    end.get(box)
    assert end.link.via == "relay"
    end.ask(Present(member(1, OLD)))
    assert end.link.past == set()
    assert not notes(end.ask(Present(member(1))), "stale-card")
    assert blamed(end.get(box)) == [(0, "suspect")]  # what has been opened stays so
    assert end.sealed(Piece(0, Frame(9, ("app",), body=b"hi").to_bytes(), True))
    assert end.link.relay_open is False
    end.sealed(Hello(reply=False, relay=True))
    assert end.link.relay_open


def test_a_link_that_dies_after_an_old_card_was_taken_back_is_made_anew() -> None:
    end, _ = up()
    for incarnation in (OLD, LIVES[1]):
        end.ask(Present(member(1, incarnation)))
    end.host(LinkClosed(PATH, 1, end.link.last_attempt, "lost"))
    assert end.link.incarnation is not None
    assert end.link.incarnation.member.incarnation == LIVES[1]


def test_who_speaks_in_the_present_life_is_found_again_without_its_card() -> None:
    end = End(3, 1)
    now = end.channel
    end.ask(Present(member(1, OLD)))
    asked = hellos(end, end.get(now.close(OfferRequest(b""))), now)[0]
    end.get(now.close(Hello(reply=True, relay=False, nonce=asked.nonce)))
    assert end.link.incarnation is not None
    assert end.link.incarnation.member.incarnation == LIVES[1]
    assert end.link.past == {OLD}


def test_a_nudge_makes_the_offering_side_try_again() -> None:
    end = End(1, 3)
    name = offer_hash(pair(1, 3), end.posted(end.describe("offer"))[0])
    end.get(sign_answer(identity(3), pair(3, 1), epoch=1, nonce=b"m" * 16, offer=name, sdp=sdp(3)))
    end.open()
    end.on_link(sign_confirm(identity(3), pair(3, 1), name, print_of(3), print_of(1)))
    effects = end.sealed(OfferRequest(name))
    assert of(effects, HangUp)
    assert of(effects, MakeOffer) == [MakeOffer(PATH, 3, 2)]


# --- the relay ----------------------------------------------------------------------------


def test_a_relayed_mesh_message_is_refused() -> None:
    """What belongs on a link (a confirmation!) does not come by the server."""
    end, _ = connecting()
    frame = Frame(9, PATH, Beat()).to_bytes()
    assert blamed(end.sealed(Piece(0, frame, True))) == [(1, "known")]


def test_a_box_opens_once() -> None:
    end = End(3, 1)
    box = end.channel.close(Hello(reply=False, relay=True))
    assert of(end.get(box), Route) == [Route(PATH, 1, "relay")]
    assert blamed(end.get(box)) == [(0, "suspect")]


@given(st.binary(max_size=100))
def test_a_box_with_anything_in_it_does_no_harm(data: bytes) -> None:
    end = End(3, 1)
    incarnations = end.channel.incarnations
    assert blamed(end.get(Sealed(incarnations, data))) == [(1, "suspect")]
    seal = end.channel._seal
    effects = end.get(Sealed(incarnations, seal.seal(1, data)))
    assert blamed(effects) == [(1, "suspect")]


def two_channels() -> tuple[Channel, Channel]:
    one = Channel(identity(1), identity(2).public, pair(1, 2))
    two = Channel(identity(2), identity(1).public, pair(2, 1))
    assert one.incarnations == two.incarnations
    return one, two


@given(st.integers(0, 5 * PIECE), st.sets(st.integers(0, 5)))
def test_frames_are_cut_and_joined_and_a_lost_piece_loses_only_its_frame(
    size: int, lost: set[int]
) -> None:
    one, two = two_channels()
    frame = random.Random(size).randbytes(size)
    assert one.put(frame)
    boxes = list(one.release()) or [one.close(Piece(0, b"", True))]
    whole = None
    for number, box in enumerate(boxes):
        if number not in lost:
            piece = two.open(box)
            assert isinstance(piece, Piece)
            whole = two.join(piece)
    assert whole == (frame if not any(k in lost for k in range(len(boxes))) else None)
    assert one.put(b"next frame")
    [after] = one.release()
    piece = two.open(after)
    assert isinstance(piece, Piece)
    assert two.join(piece) == b"next frame"


def opened(channel: Channel, boxes: list[Sealed]) -> list[Taken]:
    """What the reader has to say of boxes that came."""
    said = []
    for box in boxes:
        channel.open(box)
        if (owed := channel.owed) is not None:
            said.append(owed)
    return said


def test_what_is_on_its_way_to_a_peer_is_bounded_and_goes_on_as_it_is_taken() -> None:
    one, two = two_channels()
    for _ in range(10):
        assert one.put(bytes(WINDOW // 2))
    sent, rounds = 0, 0
    boxes = list(one.release())
    while boxes:
        sent += len(boxes)
        assert len(boxes) * PIECE <= WINDOW
        assert one._unanswered <= WINDOW
        for taken in opened(two, boxes):
            one.taken(taken.number)
        boxes, rounds = list(one.release()), rounds + 1
    assert sent * PIECE == 5 * WINDOW
    assert rounds >= 5
    assert not one.is_full


def test_what_is_lost_ends_no_conversation() -> None:
    one, two = two_channels()
    assert one.put(bytes(2 * WINDOW))
    lost = list(one.release())
    assert list(one.release()) == []
    assert one.is_full
    one.forgive()
    boxes = list(one.release())
    assert len(boxes) == len(lost)
    assert opened(two, boxes)[-1].number > len(lost)


def test_what_waits_for_a_peer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MAX_QUEUED", 3 * WINDOW)
    one, _ = two_channels()
    assert one.put(bytes(2 * WINDOW))
    assert not one.put(bytes(2 * WINDOW))
    one.clear()
    assert one.put(bytes(2 * WINDOW))


def test_boxes_of_another_pair_of_lives_do_not_open() -> None:
    one, two = two_channels()
    again = Channel(identity(1), identity(2).public, Pair("s", 1, 2, b"other life......", LIVES[2]))
    assert again.incarnations != one.incarnations
    box = again.close(Hello(reply=False, relay=False))
    with pytest.raises(SealError):
        two.open(Sealed(two.incarnations, box.box))


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, PIECE)), max_size=30))
def test_letters_are_packed_in_order_and_fit(sizes: list[tuple[int, int]]) -> None:
    envelopes = [(to, Sealed(b"l" * 8, bytes(size + 80))) for to, size in sizes]
    groups = list(pack(envelopes))
    assert [to for group in groups for to, _ in group] == [to for to, _ in sizes]
    assert all(sum(len(p) + 60 for _, p in group) < 64 * 1024 for group in groups)


# --- the table ----------------------------------------------------------------------------


def test_every_state_of_a_link_can_be_reached_and_left_for_idle() -> None:
    seen, todo = set(), ["idle"]
    while todo:
        state = todo.pop()
        if state not in seen:
            seen.add(state)
            todo += MOVES[state]
    assert seen == set(MOVES)
    assert all("idle" in MOVES[state] for state in MOVES if state != "idle")


def test_confirm_is_small_enough_for_any_channel() -> None:
    msg = sign_confirm(identity(1), pair(1, 2), b"o" * 32, print_of(1), print_of(2))
    assert len(msgspec.msgpack.encode(msg)) < 1200
    assert isinstance(msg, Confirm)


# --- heartbeats ---------------------------------------------------------------------------


def beat_at(end: End, now: int) -> list[Effect]:
    end.now = now
    return end.host(TimerFired(PATH, "beat"))


def test_a_silent_link_is_suspect_after_six_seconds_and_dead_after_fifteen() -> None:
    end, _ = up()
    states = []
    for second in range(2, 18, 2):
        effects = beat_at(end, second * SECOND)
        states.append(end.link.state)
    assert states == ["up", "up", *["suspect"] * 5, "idle"]
    assert of(effects, Route) == [Route(PATH, 1, "none")]
    assert next(e.value for e in of(effects, Output)) == PeerDown(1, "silent for 16 s")


def test_a_beat_revives_a_suspect() -> None:
    end, _ = up()
    for second in (2, 4, 6):
        beat_at(end, second * SECOND)
    assert end.link.state == "suspect"
    end.on_link(Beat())
    assert end.link.state == "up"


def test_after_a_sleep_of_our_own_the_others_get_time_to_be_heard() -> None:
    """Our process was stopped for a minute: the silence was ours."""
    end, _ = up()
    effects = beat_at(end, 60 * SECOND)
    assert of(effects, HangUp) == []
    assert end.link.state == "up"
    assert [e.frame.kind for e in of(effects, Send)] == ["Beat"]


# --- the next server ----------------------------------------------------------------------


def test_a_member_tells_of_a_server_on_a_confirmed_link_alone() -> None:
    end, _ = connecting()
    end.open()
    assert of(end.on_link(Rehomed("ws://there:1")), Output) == []
    end, _ = up()
    [told] = of(end.on_link(Rehomed("wss://there.example:1/s")), Output)
    assert told.value == KnowServer("wss://there.example:1/s", 1)
    sent = of(end.ask(TellServer("ws://here:2")), Send)
    assert [(effect.to, effect.frame.msg) for effect in sent] == [((1,), Rehomed("ws://here:2"))]


@pytest.mark.parametrize(
    "url", ["", "http://x", "ws://", "ws://a b", "ws://" + "x" * 300, "ws://\x1b"]
)
def test_a_malformed_url_of_a_server_is_blamed(url: str) -> None:
    end, _ = up()
    effects = end.on_link(Rehomed(url))
    assert of(effects, Output) == []
    assert [blame.reason for blame in of(effects, Blame)] == ["malformed url of a server"]


def test_beats_are_slower_in_a_large_session_and_three_fit_before_a_link_is_dead() -> None:
    plain = MeshSettings()
    assert plain.for_members(12) is plain
    large = plain.for_members(30)
    assert (large.beat, large.suspect_after) == (5 * SECOND, 12_500_000)
    for n in range(13, 200):
        paced = plain.for_members(n)
        assert plain.beat <= paced.beat <= paced.dead_after // 3
        assert 2 * paced.beat < paced.suspect_after <= paced.dead_after
