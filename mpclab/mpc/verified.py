"""`verified`: the same computation, and nobody can change its result unseen.

Security with abort against *malicious* parties, fewer than half of all (Chida, Genkin, Hamada,
Ikarashi, Kikuchi, Lindell and Nof, CRYPTO 2018, Protocol 5.3): beside each shared value x the
parties hold r·x, for one random r that nobody knows, and compute everything twice, once on each.
Whoever spoils a product spoils both by amounts of its own choice; that these are d and r·d it could
only guess. Before anything is opened that depends on it,

    Σ αⁱ · (r·xᵢ)  -  r · Σ αⁱ · xᵢ     for all values since the last check, α drawn afterwards,

is multiplied by a random number and opened: not 0 means that somebody cheated, and there is no
result. A cheat passes with a chance of less than the number of values divided by P.

Whose shares do not lie on one polynomial is found likewise: the two sums are opened, each hidden by
a random number. So is what is opened in between and depends on an input, the masked differences of
comparisons: the values behind each are checked before it is opened, since a difference or a mask
that somebody spoiled would tell of them. Only random squares are opened unchecked: no input is in
them, and their roots are checked before they mask anything.

What it does not do: name the cheat, or go on without it. It costs about two and a half times as
much, and four rounds more for each comparison that waits for another. Note: the paper opens r in
the end; here it stays secret, so that there can be several checks, as many as there are things to
open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mpclab.mpc.circuit import Circuit, P, Step, Vector, Wire

CHEATED = "somebody cheated while it was computed"


def verified(circuit: Circuit) -> Circuit:
    """A circuit that puts out the same, and ends before that when somebody cheats."""
    return _Doubling(circuit).made


def prepared(circuit: Circuit) -> tuple[Circuit, dict[int, Wire]]:
    """A circuit without inputs and outputs, checked as a whole in its last round.

    Returns:
        The circuit, and its wires by the index of those of the given one.
    """
    doubling = _Doubling(circuit)
    doubling.check_all()
    return doubling.made, doubling.plain


class _Doubling:
    """A circuit in the making.

    Attributes:
        plain, mac: x and r·x, by the wire's index in the circuit that is doubled; public ones have
            no r·x.
        unchecked: those that no check has covered, in order, by the index of x in `made`.
        behind: which of these a wire is made of, by its index in the circuit that is doubled.
        covered: what the check opened that covered a value, by the index of x.
        private: wires that depend on an input.
    """

    def __init__(self, circuit: Circuit) -> None:
        self.made = Circuit()
        self.plain: dict[int, Wire] = {}
        self.mac: dict[int, Wire] = {}
        self.unchecked: dict[int, tuple[Wire, Wire]] = {}
        self.behind: dict[int, frozenset[int]] = {}
        self.covered: dict[int, Wire] = {}
        self.private: set[int] = set()
        self.checks: list[Wire] = []
        self.zeros: list[Wire] = []  # of the circuit that is doubled: ranges
        self.r = self.made.random(1)
        results = _opened_for_results(circuit)
        for step in circuit.steps:
            self._double(step, step.wire.index in results)
        for wire in circuit.outputs:
            self.made.output(self.plain[wire.index])

    def _double(self, step: Step, is_result: bool) -> None:
        c, at = self.made, step.wire.index
        args = [self.plain[arg.index] for arg in step.args]
        behind = frozenset[int]().union(*(self.behind[arg.index] for arg in step.args))
        if step.party or any(arg.index in self.private for arg in step.args):
            self.private.add(at)
        match step.kind:
            case "local":
                assert step.local is not None
                self.plain[at] = (
                    c.local(step.local, *args, length=step.wire.length)
                    if args
                    else c.constant(step.local())
                )
                if not step.wire.public:
                    self.mac[at] = self._local(step, args)
            case "open" | "zero":
                if step.kind == "zero" or is_result:
                    self.check_all()
                    args = [self._after(args[0], self.checks)]
                elif at in self.private:
                    self._check(tuple(key for key in self.unchecked if key in behind))
                    args = [self._after(args[0], [self.covered[key] for key in behind])]
                if step.kind == "zero":
                    self.plain[at] = c.zero(args[0], step.why)
                    self.zeros.append(self.plain[at])
                else:
                    if is_result or at in self.private:
                        args = [self._after(args[0], self.zeros)]
                        behind = frozenset()
                    self.plain[at] = c.open(*args, waits=False)
            case _:
                self._share(step, args)
                behind |= {self.plain[at].index}
        self.behind[at] = behind

    def _share(self, step: Step, args: list[Wire]) -> None:
        """What is shared anew: an input, a random number, a product."""
        c, at = self.made, step.wire.index
        match step.kind:
            case "input":
                wire = c.input(step.party, step.wire.length)
            case "digits":
                wire = c.unchecked_digits(step.party, step.wire.length // step.width, step.width)
            case "random":
                wire = c.random(step.wire.length, step.below)
            case "mul":
                wire = c.mul(*args)
            case "dot":
                wire = c.dot(*args)
        self.plain[at] = wire
        if step.kind in ("mul", "dot"):
            left = self.mac[step.args[0].index]
            self.mac[at] = c.mul(left, args[1]) if step.kind == "mul" else c.dot(left, args[1])
        else:
            self.mac[at] = c.mul(wire, self.r.take([0] * wire.length))
        self.unchecked[wire.index] = wire, self.mac[at]

    def _local(self, step: Step, args: list[Wire]) -> Wire:
        """r·f(x) for an affine f: f(r·x) - f(0) + r·f(0)."""
        secret = [i for i, arg in enumerate(step.args) if not arg.public]
        macs = [self.mac[step.args[i].index] for i in secret]
        public = [arg for arg, old in zip(args, step.args, strict=True) if old.public]
        return self.made.local(
            _affine(step, secret), *macs, self.r, *public, length=step.wire.length
        )

    def _after(self, wire: Wire, checks: Iterable[Wire]) -> Wire:
        """Not opened before these checks are passed."""
        last = max(checks, key=lambda check: check.level, default=None)
        if last is None or last.level <= wire.level:
            return wire
        return self.made.local(lambda v, _: v, wire, last, length=wire.length)

    def check_all(self) -> None:
        self._check(tuple(self.unchecked))

    def _check(self, keys: tuple[int, ...]) -> None:
        if not keys:
            return
        c = self.made
        found = [self.unchecked.pop(key) for key in keys]
        values = c.join(*(value for value, _ in found))
        macs = c.join(*(mac for _, mac in found))
        # After all of them are fixed: the shares of α were drawn in the first round, and are opened
        # when everybody has everything else.
        drawn = c.local(lambda v, *_: v, c.random(1), values, macs, length=1)
        alpha = c.open(drawn, waits=False)
        total, mac = (c.local(_combined, alpha, vector, length=1) for vector in (values, macs))
        hidden = c.join(total, mac) + c.random(2)
        c.open(hidden, waits=False)  # that the shares fit together is what is looked at
        difference = mac - c.mul(total, self.r)
        passed = c.zero(c.mul(difference, c.random(1)), CHEATED)
        self.checks.append(passed)
        self.covered.update(dict.fromkeys(keys, passed))


def _opened_for_results(circuit: Circuit) -> set[int]:
    """The wires that are opened and that results are made of, by index."""
    steps = {step.wire.index: step for step in circuit.steps}
    found, waiting = set[int](), [wire.index for wire in circuit.outputs]
    while waiting:
        step = steps[waiting.pop()]
        if step.kind == "open":
            found.add(step.wire.index)
        elif step.kind == "local":
            waiting += [arg.index for arg in step.args]
    return found


def _combined(alpha: Vector, values: Vector) -> Vector:
    weight, total = 1, 0
    for value in values:
        weight = weight * alpha[0] % P
        total += weight * value
    return [total]


def _affine(step: Step, secret: list[int]) -> Callable[..., Vector]:
    function, count = step.local, len(step.args)
    assert function is not None

    def doubled(*vectors: Vector) -> Vector:
        macs, (r,), public = (
            vectors[: len(secret)],
            vectors[len(secret)],
            vectors[len(secret) + 1 :],
        )

        def at(given: list[Vector]) -> Vector:
            own, others = iter(given), iter(public)
            return function(*(next(own if i in secret else others) for i in range(count)))

        constant = at([[0] * len(mac) for mac in macs])
        whole = at(list(macs))
        return [x - c + r * c for x, c in zip(whole, constant, strict=True)]

    return doubled
