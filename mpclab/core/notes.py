"""The notes: past facts that machines and hosts put into the trace, one class each.

Protocols write them with `ctx.note(Decided(op, index))`; outcomes, checks, plots, panels and
the terminal read them, and read nothing else of a protocol. The union `AnyNote` is closed: a
reader matches on classes and ends in `assert_never`, so that a class added here shows every
place that has to take it into account. In a notebook a note may be named by its word,
`ctx.note(notes.Decided(op="motto"))`; a word or a field that no class has is refused. A fact of no
class is a `Remark`, asked for as such: `ctx.remark("half way", left=3)`.

Fields are plain: text, numbers, tuples. No note ever holds a key, a share or a nonce. Each
docstring says who writes the note, who reads it, and what is missing without it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, get_args

import msgspec

from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import Party


def _word(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


class Note(
    msgspec.Struct,
    frozen=True,
    gc=False,
    tag_field="word",
    tag=_word,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Base of all notes. A class gives its word: `BecameLeader` is `became-leader`."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Note":
        return self


# --- an operation, in the order of its life ---------------------------------------------------


class Proposed(Note, frozen=True):
    """The party asks the others for an operation.

    Written by: the coordinator of the proposer.
    Read by: outcomes, validity, termination, linearizability, plots, panels.
    Without it: nothing counts as proposed, and a commit of it violates validity.
    """

    op: str
    kind: str = ""
    by: Party | None = None
    text: str = ""


class Heard(Note, frozen=True):
    """A valid proposal of another party arrived.

    Written by: the coordinator of everyone but the proposer.
    Read by: outcomes, validity, termination, panels.
    Without it: a party that never settles the operation is not known to owe an end.
    """

    op: str
    kind: str = ""
    by: Party | None = None


class Ignored(Note, frozen=True):
    """A proposal was not taken up.

    Written by: the coordinator, when a party has too many proposals open.
    Read by: the log.
    Without it: nobody sees why a proposal was never voted on.
    """

    op: str
    by: Party
    why: str


class Voted(Note, frozen=True):
    """The party approves or rejects an operation.

    Written by: the coordinator of each voter, before the vote is sent.
    Read by: outcomes, validity, certificates, termination, plots, panels.
    Without it: approvals cannot be counted, and certificates are called forged.
    """

    op: str
    approve: bool
    reason: str = ""


class Certified(Note, frozen=True):
    """The party holds enough signed approvals, of these parties.

    Written by: the coordinator.
    Read by: certificates, outcomes, plots, panels.
    Without it: nobody can check whose approvals made the operation pass.
    """

    op: str
    approvals: tuple[Party, ...] = ()


class Decided(Note, frozen=True):
    """The agreement protocol decided an operation, at `index` where it orders them.

    Written by: every agreement protocol.
    Read by: all checks where no coordinator runs (there it stands for `Committed`), plots.
    Without it: a bare protocol seems never to decide anything.
    """

    op: str
    index: int | None = None
    value: str = ""


class Committed(Note, frozen=True):
    """The operation is entry `index` of the party's history, whose head is now `head`.

    `value` is a digest of the whole proposal, `stamp` its Lamport time; `tip` is the head of the
    whole history now, which is another one where the entry went into its middle.

    Written by: the coordinator.
    Read by: outcomes and all checks of order and agreement, plots, panels.
    Without it: the party did not commit.
    """

    op: str
    kind: str = ""
    index: int | None = None
    stamp: int | None = None
    head: str = ""
    value: str = ""
    tip: str = ""


class Aborted(Note, frozen=True):
    """The operation is settled: it will not be committed by anyone honest. Final.

    `index` is the place in the log at which that was decided, where there is one.

    Written by: the coordinator, when the agreement protocol or enough rejections say so.
    Read by: outcomes, agreement, termination, validity (a reason is due), plots, panels.
    Without it: the operation stays open at this party.
    """

    op: str
    reason: str
    rejected: tuple[Party, ...] = ()
    missing: tuple[Party, ...] = ()
    index: int | None = None


class Expired(Note, frozen=True):
    """This party stopped waiting for the operation; others may still commit it, and then it will.

    Written by: the coordinator, where it gives up by its own clock and no protocol decided.
    Read by: outcomes (status `expired`), termination, linearizability, plots, panels.
    Without it: a user waits for an answer that may never come.
    """

    op: str
    reason: str
    rejected: tuple[Party, ...] = ()
    missing: tuple[Party, ...] = ()


class Executed(Note, frozen=True):
    """A committed operation was carried out, with this result; `source`: learnt from others;
    `facts`: the result as data, for programs.

    Written by: the executor.
    Read by: outcomes, integrity, linearizability, panels.
    Without it: the operation counts as committed and not yet done.
    """

    op: str
    result: str = ""
    source: str = ""
    facts: tuple[tuple[str, str | int], ...] = ()


class Failed(Note, frozen=True):
    """A committed operation could not be carried out.

    Written by: the executor.
    Read by: outcomes, panels.
    Without it: the operation counts as committed and not yet done.
    """

    op: str
    reason: str
    missing: tuple[Party, ...] = ()
    blamed: tuple[Party, ...] = ()


# --- clients outside the group ----------------------------------------------------------------


class ReadAnswered(Note, frozen=True):
    """The party answered a read: its history has `records` operations, and `last` is the last.

    Written by: the coordinator, where its protocol reads.
    Read by: clients.
    Without it: a client that reads hears nothing.
    """

    read: str
    records: int
    last: str = ""


class Invoked(Note, frozen=True):
    """Client `client` sends its call `call` to a party: an operation, or the kind `read`.

    Written by: the lab, for its clients.
    Read by: linearizability, outcomes, plots.
    Without it: the proposer of the operation counts as its client.
    """

    client: int
    call: int
    party: Party
    kind: str
    op: str
    text: str = ""


class Returned(Note, frozen=True):
    """A client's call ended `ok`, `failed` (it never happens) or `unknown`; of a read, with how
    many operations it saw, and which was the last.

    Written by: the lab, for its clients.
    Read by: linearizability, outcomes, plots.
    Without it: the call never ended, and may have happened at any time.
    """

    client: int
    call: int
    op: str
    end: str
    text: str = ""
    records: int = 0
    last: str = ""


# --- what a protocol goes through -------------------------------------------------------------


class Phase(Note, frozen=True):
    """The machine entered a phase of its protocol; the other fields say which one exactly.

    Written by: every agreement protocol.
    Read by: the timeline, the parties panel.
    Without it: the timeline's bar of this party is empty.
    """

    phase: str
    op: str = ""
    term: int | None = None
    view: int | None = None
    round: int | None = None
    bit: int | None = None
    dealer: Party | None = None


class Round(Note, frozen=True):
    """A lockstep protocol entered round `round` of `of`.

    Written by: `RoundMachine`, dealings, signing and computations.
    Read by: the timeline, the parties panel.
    Without it: an execution shows no progress.
    """

    round: int
    of: int
    attempt: int | None = None
    leader: Party | None = None


class BecameLeader(Note, frozen=True):
    """The party believes that it leads `term` or `view`.

    Written by: Raft, PBFT, HotStuff.
    Read by: the check `leaders`, plots, the parties panel.
    Without it: two leaders of one term would not be seen.
    """

    term: int | None = None
    view: int | None = None


class VotersChanged(Note, frozen=True):
    """From here on these parties vote in the agreement protocol. With `old`, both sets have to
    agree: the change from one to the other is under way.

    Written by: raft, when such an entry is committed, and on the way back from a crash.
    Read by: the state of parties, plots, panels.
    Without it: all parties seem to vote.
    """

    voters: tuple[Party, ...]
    old: tuple[Party, ...] = ()


class EnteredView(Note, frozen=True):
    """The party follows the leader of this view from now on.

    Written by: PBFT, HotStuff.
    Read by: plots, the parties panel.
    Without it: a former leader seems to go on leading.
    """

    view: int


class SteppedDown(Note, frozen=True):
    """The party led `term`, and leads no more: a newer term came, or a majority is not heard.

    Written by: Raft.
    Read by: plots, the parties panel.
    Without it: a deposed leader seems to go on leading.
    """

    term: int


class VertexAdded(Note, frozen=True):
    """A certified vertex and all that it refers to are in this party's DAG.

    Written by: DAG protocols.
    Read by: the picture of the DAG.
    Without it: there is no such picture.
    """

    round: int
    source: Party
    anchor: bool = False
    parents: tuple[Party, ...] = ()
    weak: tuple[tuple[int, Party], ...] = ()
    ops: tuple[str, ...] = ()


class AnchorOrdered(Note, frozen=True):
    """An anchor is ordered here, and these vertices with it: (round, source) of each, in order.

    Written by: DAG protocols.
    Read by: the picture of the DAG.
    Without it: the picture shows no order.
    """

    round: int
    source: Party
    vertices: tuple[tuple[int, Party], ...] = ()


class Blocked(Note, frozen=True):
    """The machine cannot go on, and for whom it waits.

    Written by: every agreement protocol, when its patience ends.
    Read by: termination (it says what each waits for), plots, panels.
    Without it: the verdict on a run that hangs cannot say why.
    """

    waiting_for: tuple[Party, ...]
    why: str = "blocked"
    op: str = ""


class Untimely(Note, frozen=True):
    """A message of `sender` came when, as the protocol has `assumed` of honest parties, none comes.

    Written by: synchronous protocols (Dolev–Strong).
    Read by: every check that finds something violated (it says what the promise rested on).
    Without it: a protocol seems wrong where the network broke its assumption.
    """

    op: str
    sender: Party
    how: str
    assumed: str


class CaughtUp(Note, frozen=True):
    """`records` entries that the party had missed came from party `source`.

    Written by: log protocols and the coordinator.
    Read by: the log.
    Without it: nobody sees why a history grew by leaps.
    """

    records: int
    source: Party


class Restored(Note, frozen=True):
    """The party began again with the `records` entries that it had stored, under this head.

    Written by: the coordinator, after a restart.
    Read by: durability, agreement (heads).
    Without it: a party that goes on after a crash is taken to have lost its history.
    """

    records: int
    head: str = ""


# --- keys, signatures and computations --------------------------------------------------------


class InputWanted(Note, frozen=True):
    """A computation waits for so many numbers of this party's user; `why` those are not taken
    that it has as private numbers, if it has any.

    Written by: secure computations.
    Read by: the operations panel's log.
    Without it: a user does not know that it is their turn.
    """

    numbers: int
    why: str = ""


class KeyAgreed(Note, frozen=True):
    """A dealing ended in this public key; `excluded` were left out.

    Written by: dealings (key generation, refresh, resharing).
    Read by: the log.
    Without it: the moment of agreement on a key is not to be seen.
    """

    key: str
    excluded: tuple[Party, ...] = ()


class PackageRefused(Note, frozen=True):
    """A signer does not sign what the leader of this attempt asks for.

    Written by: signing.
    Read by: the log.
    Without it: a signature that does not come about has no cause.
    """

    attempt: int
    why: str


class Signed(Note, frozen=True):
    """A signature was made and verified; its first bytes.

    Written by: signing.
    Read by: the log.
    Without it: the moment of signing is not to be seen.
    """

    attempt: int
    signature: str


class Beacon(Note, frozen=True):
    """A number of the random beacon is known.

    Written by: the beacon.
    Read by: the log.
    Without it: the moment of the toss is not to be seen.
    """

    number: int
    value: str


# --- links ------------------------------------------------------------------------------------


class Confirmed(Note, frozen=True):
    """Both ends of a data channel signed both fingerprints.

    Written by: the mesh.
    Read by: the log.
    Without it: the moment from which a channel is trusted is not to be seen.
    """

    peer: Party
    fingerprint: str


class LinkFailed(Note, frozen=True):
    """A data channel could not be opened, for the `failures`-th time in a row.

    Written by: the mesh.
    Read by: the log.
    Without it: a relayed pair has no cause.
    """

    peer: Party
    reason: str
    failures: int


class Suspected(Note, frozen=True):
    """Nothing was heard of a peer for long: its link is taken down.

    Written by: the mesh.
    Read by: the log.
    Without it: a closed link has no cause.
    """

    peer: Party


class StaleOffer(Note, frozen=True):
    """An offer came that belongs to an attempt that is over.

    Written by: the mesh.
    Read by: the log.
    Without it: a dropped offer leaves no sign.
    """

    peer: Party


class StaleAnswer(Note, frozen=True):
    """An answer came that belongs to an attempt that is over.

    Written by: the mesh.
    Read by: the log.
    Without it: a dropped answer leaves no sign.
    """

    peer: Party


class StaleCard(Note, frozen=True):
    """A signed presence came that is older than one we know.

    Written by: the mesh.
    Read by: the log.
    Without it: a replayed presence leaves no sign.
    """

    peer: Party


class StaleBox(Note, frozen=True):
    """A sealed message came that is older than one we opened.

    Written by: the mesh.
    Read by: the log.
    Without it: a replayed message leaves no sign.
    """

    peer: Party


class RelayOverflow(Note, frozen=True):
    """More waited for a relayed peer than may: this frame was left out, or, where none is named,
    the server left out what it had no room for.

    Written by: the mesh; the client, when the server says so.
    Read by: the log, `mpclab party`.
    Without it: a lost message has no cause.
    """

    peer: Party
    message: str = ""


class UnconfirmedDropped(Note, frozen=True):
    """A frame came on a link that is not confirmed yet, and was dropped.

    Written by: the node and the mesh.
    Read by: the log.
    Without it: a message that was delivered and had no effect has no cause.
    """

    sender: Party
    message: str = ""


class EarlyDropped(Note, frozen=True):
    """A frame kept for a machine not yet born made room for a later one.

    Written by: the node.
    Read by: the log.
    Without it: a message that was delivered and had no effect has no cause.
    """

    sender: Party
    message: str


class AskRefused(Note, frozen=True):
    """A child machine refused what its parent asked for, when no user waited for an answer.

    Written by: the node.
    Read by: the log.
    Without it: a request that led to nothing has no cause.
    """

    ask: str
    why: str


# --- sessions and their server ----------------------------------------------------------------


class NotAdmitted(Note, frozen=True):
    """The server refused this party's wish to join.

    Written by: the party, when the server's answer arrives.
    Read by: the lab, the panels and the terminal, which tell the user.
    Without it: a user waits for a session that they will never be in.
    """

    reason: str
    hint: str = ""


class Said(Note, frozen=True):
    """A text message of another party arrived.

    Written by: the party.
    Read by: the log.
    Without it: the text is not shown.
    """

    sender: Party
    text: str
    to_all: bool = False


class Opened(Note, frozen=True):
    """A session begins at the server.

    Written by: the server's rooms.
    Read by: the state's members, the server panel.
    Without it: a session without members does not exist.
    """

    session: str
    n: int | None = None
    t: int | None = None
    policy: str = ""


class Joined(Note, frozen=True):
    """The server admitted a party, on this connection.

    Written by: the server's rooms.
    Read by: the state's members, the real world (who is behind a connection), panels.
    Without it: the party is not shown as present.
    """

    session: str
    party: Party
    connection: int | None = None


class Left(Note, frozen=True):
    """A party is no longer present at the server.

    Written by: the server's rooms.
    Read by: the state's members, panels.
    Without it: the party is still shown as present.
    """

    session: str
    party: Party
    why: str = ""


class JoinRefused(Note, frozen=True):
    """The server refused a wish to join, with this reason.

    Written by: the server's rooms.
    Read by: the log.
    Without it: an operator does not see who was turned away.
    """

    reason: str
    session: str
    party: Party


class Expelled(Note, frozen=True):
    """The server closed a connection that broke its rules.

    Written by: the server's rooms.
    Read by: the log.
    Without it: a lost connection has no cause.
    """

    reason: str
    session: str = ""
    party: Party = 0


class Closed(Note, frozen=True):
    """A session is over at the server.

    Written by: the server's rooms.
    Read by: the state's members, the server panel.
    Without it: the session is shown for ever.
    """

    session: str


# --- what hosts say of their actors -----------------------------------------------------------


class Started(Note, frozen=True):
    """The actor runs for the first time; `elsewhere`: not here, and it tells of itself, so that its
    rows come later than what they brought about.

    Written by: the world.
    Read by: the state (life), plots, panels; `elsewhere` by the check of validity.
    Without it: the actor counts as up when its first row appears.
    """

    elsewhere: bool = False


class Crashed(Note, frozen=True):
    """The actor stopped in the middle of everything; in a torn step after `done` of `wanted`.

    Written by: the world.
    Read by: the state (life), durability, termination, plots, panels.
    Without it: the actor counts as up.
    """

    why: str = ""
    done: int | None = None
    wanted: int | None = None


class Restarted(Note, frozen=True):
    """The actor runs again, with what it had stored; with `amnesia`, with nothing.

    Written by: the world.
    Read by: the state (life), durability, integrity, plots, panels.
    Without it: the actor counts as down.
    """

    amnesia: bool = False


class Paused(Note, frozen=True):
    """The actor does nothing until it is resumed.

    Written by: the world.
    Read by: the state (life), plots, panels.
    Without it: the actor counts as up.
    """


class Resumed(Note, frozen=True):
    """The actor goes on with what arrived meanwhile.

    Written by: the world.
    Read by: the state (life), plots, panels.
    Without it: the actor counts as paused.
    """


class Removed(Note, frozen=True):
    """The actor left for good.

    Written by: the world.
    Read by: the state (life), plots, panels.
    Without it: the actor counts as up.
    """


class Broken(Note, frozen=True):
    """A machine of the actor raised an exception that is nobody's fault but the program's.

    Written by: the world; the actor crashes next.
    Read by: the log.
    Without it: a crash of the program looks like a crash of the machine.
    """

    error: str


class CouldNot(Note, frozen=True):
    """A verb that was planned for this time could not be done.

    Written by: the lab.
    Read by: the log.
    Without it: a scenario's operation that was never proposed has no cause.
    """

    verb: str
    reason: str


class Remark(Note, frozen=True):
    """Whatever else there is to say: a mark of the lab, a note of one's own protocol.

    Written by: `ctx.remark` and `lab.mark`.
    Read by: the log.
    Without it: nothing; no check and no plot reads remarks.
    """

    what: str
    details: dict[str, Any] = {}


AnyNote: TypeAlias = (
    Proposed
    | Heard
    | Ignored
    | Voted
    | Certified
    | Decided
    | Committed
    | Aborted
    | Expired
    | Executed
    | Failed
    | ReadAnswered
    | Invoked
    | Returned
    | Phase
    | Round
    | BecameLeader
    | VotersChanged
    | EnteredView
    | Untimely
    | SteppedDown
    | VertexAdded
    | AnchorOrdered
    | Blocked
    | CaughtUp
    | Restored
    | InputWanted
    | KeyAgreed
    | PackageRefused
    | Signed
    | Beacon
    | Confirmed
    | LinkFailed
    | Suspected
    | StaleOffer
    | StaleAnswer
    | StaleCard
    | StaleBox
    | RelayOverflow
    | UnconfirmedDropped
    | EarlyDropped
    | AskRefused
    | NotAdmitted
    | Said
    | Opened
    | Joined
    | Left
    | JoinRefused
    | Expelled
    | Closed
    | Started
    | Crashed
    | Restarted
    | Paused
    | Resumed
    | Removed
    | Broken
    | CouldNot
    | Remark
)

CLASSES: Final[dict[str, type[AnyNote]]] = {_word(c.__name__): c for c in get_args(AnyNote)}
"""Every class of note by its word."""


def word_of(note: AnyNote) -> str:
    """The word of a note: `became-leader`; a remark's is its own."""
    return note.what if type(note) is Remark else _WORDS[type(note)]


_WORDS = {c: word for word, c in CLASSES.items()}


def op_of(note: AnyNote) -> str:
    """The operation that a note is about; "" when it is about none."""
    op: str = getattr(note, "op", "")
    return op


def fields_of(note: AnyNote) -> dict[str, Any]:
    """The fields of a note that are not at their defaults; a remark's are its own."""
    if isinstance(note, Remark):
        return note.details
    told: dict[str, Any] = msgspec.to_builtins(note)
    return {field: value for field, value in told.items() if field != "word"}


def class_of(word: str) -> type[AnyNote]:
    """The class of note that has this word.

    Raises:
        UsageError: there is none; says which is nearest.
    """
    if word in CLASSES:
        return CLASSES[word]
    raise UsageError(f"note {word!r} is not known{nearest(word, CLASSES)}")


def named(word: str, fields: Mapping[str, Any]) -> AnyNote:
    """The note of this word and these fields, as `ctx.note(notes.Decided(op="x"))` means it.

    Raises:
        UsageError: no class has this word, or its class has not one of the fields, or wants
            another, or one of another type.
    """
    if word not in CLASSES:
        hint = "; for a remark of your own write ctx.remark(what, …)"
        raise UsageError(f"note {word!r} is not known{nearest(word, CLASSES)}{hint}")
    wanted = CLASSES[word]
    for field in fields:
        if field not in wanted.__struct_fields__:
            raise UsageError(
                f"note {word!r} has no field {field!r}{nearest(field, wanted.__struct_fields__)}"
            )
    try:
        return msgspec.convert(fields, wanted)
    except msgspec.ValidationError as error:
        raise UsageError(f"note {word!r}: {error}") from error
