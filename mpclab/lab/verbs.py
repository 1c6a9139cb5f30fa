"""`Verbs`: what one does to the parties of one session, in every world.

`Lab` has them for its first session, `OneSession` for any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpclab.check import Check, Verdict, run_checks
from mpclab.core import notes
from mpclab.core.errors import UsageError
from mpclab.core.ids import SECOND, Party, parse_duration
from mpclab.core.numbers import Number
from mpclab.faults.nemesis import DEFAULT as NEMESIS
from mpclab.faults.plan import Fault, Injection
from mpclab.lab.group import Group
from mpclab.lab.journal import CLOSED, Journal, verb
from mpclab.lab.operation import Operation
from mpclab.lab.outcome import Outcomes
from mpclab.lab.replies import Done
from mpclab.lab.scenario import Scenario, check_call
from mpclab.trace.flights import Flight, flights
from mpclab.trace.fold import State
from mpclab.trace.log import Trace
from mpclab.trace.rows import WORLD, Noted
from mpclab.worlds.base import World

if TYPE_CHECKING:
    from mpclab.lab.key_care import KeyInfo
    from mpclab.view import Living

PATIENCE = 30 * SECOND
"""How long `join` and `run` wait at the most, unless told otherwise."""


class Verbs:
    """The verbs of a session. Whose, says the class that has them: it has a `group`."""

    if TYPE_CHECKING:
        world: World
        journal: Journal
        url: str
        scenario: Scenario
        group: Group

        @property
        def called(self) -> str: ...
        @property
        def trace(self) -> Trace: ...
        @property
        def closed(self) -> bool: ...
        def let_pass(self, until: Callable[[], bool] | None, limit: int) -> bool: ...

    def _check_open(self) -> None:
        if self.closed:
            raise UsageError(CLOSED)

    @property
    def parties(self) -> tuple[Party, ...]:
        """The parties spawned here that have not left, in order."""
        return self.group.present

    @property
    def state(self) -> State:
        """Parties, links, proposals, votes and faults as the trace last showed them."""
        return self.group.tracker.follow()

    def messages(self, kind: str = "") -> list[Flight]:
        """Every message's way so far, one entry for each receiver; of one `kind`, if named."""
        return [flight for flight in flights(self.trace) if kind in ("", flight.kind)]

    def diagram(self, *, height: int = 640) -> Living:
        """What happened so far as a living diagram in a cell, alive also without a kernel."""
        from mpclab.view import Living, page

        return Living(page(self.trace, title=repr(self)), repr(self), height)

    def spawn(self, *parties: Party, votes: str | None = None, process: bool = False) -> Done:
        """Make these parties (all of the session, when none is named): keys, nodes, stores.

        With `process` (in the real worlds) each runs in a process of its own: to crash it is
        SIGKILL then, to pause it SIGSTOP. Its actions are in the trace; its memory is out of reach.
        """
        return self.group.spawn(*parties, votes=votes, process=process)

    def join(self, *parties: Party, wait: bool = True, timeout: float | str = 30.0) -> Done:
        """Have these parties (all that were spawned) join the session by its id.

        Waits until each is in and every pair of those here is connected; after a restart or a
        healed fault, `join()` waits until that is so again. `timeout` in seconds, or `"30s"`
        (virtual ones in the simulated world).

        Raises:
            UsageError: no server, refused by the server, or not connected in time: with who.
        """
        self._check_open()
        if self.scenario.mesh == "negotiated" and not (self.url or self.world.server_url):
            raise UsageError("no signaling server is running; call start_server() first")
        self.group.join(*parties)
        if wait:
            within = microseconds(timeout, "timeout")
            self._wait(self.group.connected, within, self.group.explain_unready)
        return Done(self.group.say_members())

    def leave(self, *parties: Party) -> Done:
        """Have these parties leave the session for good."""
        return self.group.leave(*parties)

    def tell(self, sender: Party, to: Party, text: str) -> Done:
        """A direct message through the signaling server, for the message log."""
        return self.group.tell(sender, to, text)

    def broadcast(self, sender: Party, text: str) -> Done:
        """A message to every member through the signaling server, for the message log."""
        return self.group.broadcast(sender, text)

    def propose(
        self, by: Party = 1, kind: str = "note", *, patience: int | None = None, **params: Any
    ) -> Operation:
        """Have party `by` propose an operation; the vote begins at once.

        Raises:
            UsageError: an unknown kind or wrong parameters; nothing was proposed.
        """
        return self.group.propose(by, kind, params, patience)

    def call(
        self,
        client: int,
        by: Party,
        kind: str = "note",
        *,
        timeout: int | str = "2s",
        **params: Any,
    ) -> Done:
        """Have a client outside the group ask party `by` for an operation, or (`read`) for what its
        history holds. The trace tells when it was invoked, and how it ended for the client: ok,
        failed, or unknown after `timeout` (µs, or `"2s"`); the check `linearizability` judges that.

        Raises:
            UsageError: an unknown kind or wrong parameters, or no such party here.
        """
        check_call(kind, params, "call")
        waits = timeout if isinstance(timeout, int) else parse_duration(timeout, "timeout")
        return self.group.call(client, by, kind, params, waits)

    def vote(
        self, party: Party, op: str | Operation, approve: bool = True, reason: str = ""
    ) -> Done:
        """Cast a party's vote by hand (for parties whose policy is `hand`)."""
        id = op.id if isinstance(op, Operation) else op
        return self.group.vote(party, id, approve, reason)

    def set_votes(self, party: Party, votes: str) -> Done:
        """How a party votes from now on: approve, reject, silent, validate or hand."""
        return self.group.set_votes(party, votes)

    def set_private(self, party: Party, *values: Number) -> Done:
        """Numbers of a party's own, whole or decimal, which it puts into any computation that they
        fit (`sum`, `auction`, …). They are never sent as they are, and no trace shows them."""
        return self.group.set_private(party, values)

    def give(self, party: Party, operation: Operation, *values: Number) -> Done:
        """A party's private input to one running computation, which waits for it."""
        return self.group.give(party, operation, values)

    def accept_key(self, party: Party, key: bytes | None = None) -> Done:
        """Let `party` have another identity key than the one that the parties here met before and
        stored: by default the one that it has in this lab now. Until then they refuse it."""
        return self.group.accept_key(party, key)

    def keys(self, party: Party) -> tuple[KeyInfo, ...]:
        """The keys that a party knows and that are in use: whose, how many are needed, its name."""
        from mpclab.lab.key_care import keys

        return keys(self.group, party)

    def export_share(self, party: Party, key: str, file: str | Path, passphrase: str) -> Done:
        """Back up a party's share of the key that operation `key` made or renewed, in a file that
        the passphrase opens. After a refresh it is of no use any more: export again."""
        from mpclab.lab.key_care import export_share

        return export_share(self.group, party, key, Path(file), passphrase)

    @verb
    def restore_share(self, party: Party, file: str | Path, passphrase: str) -> Done:
        """Take a party's share back from a file of `export_share`."""
        from mpclab.lab.key_care import restore_share

        return restore_share(self.group, party, Path(file), passphrase)

    @verb
    def delete_share(self, party: Party, key: str) -> Done:
        """Delete a party's share for good. `reshare` takes a holder off a key for all."""
        from mpclab.lab.key_care import delete_share

        return delete_share(self.group, party, key)

    @verb
    def give_secret(self, operation: Operation, secret: bytes) -> Done:
        """The secret key of an `import`, to the party that proposed it and nobody else."""
        from mpclab.lab.key_care import give_secret

        return give_secret(self.group, operation, secret)

    def run(
        self,
        until: Callable[[], bool] | None = None,
        *,
        limit: float | str | None = None,
    ) -> Outcomes:
        """Let time pass until every operation is settled everywhere; the outcomes.

        Args:
            until: wait for this instead.
            limit: at the most so many seconds, or `"30s"` (virtual in the simulated world).
        """
        limit_us = PATIENCE if limit is None else microseconds(limit, "limit")
        self.let_pass(until or self.group.settled, limit_us)
        return self.outcomes()

    def wait(self, seconds: float | str) -> Done:
        """Just let time pass, as seconds or `"500ms"` (virtual time in the simulated world)."""
        self._check_open()
        self.let_pass(None, microseconds(seconds, "wait"))
        passed = seconds if isinstance(seconds, str) else f"{seconds:g} s"
        return Done(f"{passed} passed")

    def _wait(self, ready: Callable[[], bool], limit: int, explain: Callable[[], str]) -> None:
        if not self.let_pass(ready, limit):
            raise UsageError(explain())

    def outcomes(self) -> Outcomes:
        """The outcome of each operation so far."""
        return self.group.outcomes()

    def outputs(self) -> dict[Party, list[str]]:
        """The outputs of a protocol of your own at each party, as text (see `protocol`)."""
        return self.group.outputs()

    def check(self, *checks: str | Check) -> list[Verdict]:
        """Judge the trace so far by these checks (words or functions), or by the scenario's."""
        resting = self.closed or self.world.is_idle()
        return run_checks(
            self.trace,
            checks or self.scenario.checks,
            n=self.scenario.parties,
            policy=self.scenario.policy,
            patience=None if resting else self.scenario.patience,
        )

    # --- faults ---

    def crash(self, party: Party) -> Done:
        """A party stops dead; only what it persisted is left."""
        return self.group.crash(party)

    def restart(self, party: Party, *, amnesia: bool = False) -> Done:
        """Start a crashed party again, from what it had stored or (amnesia) from nothing."""
        return self.group.restart(party, amnesia=amnesia)

    def pause(self, party: Party) -> Done:
        """A party does nothing until `resume`; what arrives waits. A process: SIGSTOP."""
        return self.group.pause(party)

    def resume(self, party: Party) -> Done:
        """A paused party goes on. A process: SIGCONT."""
        return self.group.resume(party)

    def inject(
        self, fault: Fault | Mapping[str, Any] | str | None = None, /, **fields: Any
    ) -> Injection:
        """Break something now: `lab.inject("partition", groups=[[1, 2], [3, 4]])`.

        `fault` is its kind, or all of it. Fields as in a scenario's `faults`; without `for` it
        lasts until `heal`.
        """
        return self.group.inject(fault, **fields)

    def plan(self, fault: Fault, origin: int) -> Injection:
        """Let a fault of a scenario begin and end at its times, counted from `origin` (µs)."""
        return self.group.plan(fault, origin)

    def nemesis(
        self,
        seed: int = 0,
        *,
        lasts: float | str = 10.0,
        rate: float = 1.0,
        kinds: Sequence[str] = NEMESIS,
        most: int | None = None,
    ) -> tuple[Injection, ...]:
        """Random faults from now on, `rate` a second for `lasts` seconds, all from one seed.

        At most `most` parties ((n − 1) // 3 unless told otherwise) are faulty at any one time.
        """
        return self.group.nemesis(
            seed, lasts=microseconds(lasts, "lasts"), rate=rate, kinds=tuple(kinds), most=most
        )

    @verb
    def at(self, when: int, verb: str, *args: Any, **kwargs: Any) -> None:
        """Have a verb of these done at time `when` (µs), in the world's own time."""
        self.world.at(when, partial(_do, self, verb, args, kwargs))

    def to_scenario(self) -> Scenario:
        """What was done to this session by hand, as a scenario that does it again."""
        from mpclab.lab.recorded import scenario_of

        return scenario_of(self)


def _do(whose: Verbs, verb: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Do the acts planned for now; impossible ones are noted in the trace, and time goes on."""
    try:
        with whose.journal.quiet():  # planning it was the deed
            getattr(whose, verb)(*args, **kwargs)
    except UsageError as error:
        world = whose.world
        world.trace.append(Noted(world.now, WORLD, (), notes.CouldNot(verb, str(error))))
        if verb == "propose":
            whose.group.expect_one_less()


def microseconds(seconds: Any, what: str) -> int:
    """A duration as verbs take it, in seconds or as a text, in µs.

    Raises:
        UsageError: it is none, or negative; it begins with `what`.
    """
    if isinstance(seconds, str):
        return parse_duration(seconds, what)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
        raise UsageError(f"{what}: {seconds!r} is not a number of seconds from 0 on")
    return round(seconds * SECOND)
