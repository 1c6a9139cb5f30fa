"""Faults of the signaling server: it stops, is slow, loses messages, or is malicious.

A malicious server is the honest one behind a filter over what it sends, as a Byzantine party
is. It can drop, repeat and misattribute what it relays and rewrite what is not sealed; it
cannot sign for a party nor open what is sealed. So what it forges must be *refused* by the
parties, with blame for whoever carried it, and no link may open through it.
"""

# ruff: noqa: RUF009  `the` makes a dataclasses.field

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mpclab.core.effects import Effect, Send
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party, format_duration
from mpclab.core.wire import Frame
from mpclab.faults.byzantine import reframed, some_parties
from mpclab.faults.fault import (
    AdversaryContext,
    Fault,
    FaultTarget,
    a_lasting,
    a_party,
    a_rate,
    names,
    the,
)


@dataclass(frozen=True, kw_only=True)
class ServerFault(Fault):
    """Base: the signaling server."""

    def parties(self) -> tuple[Party, ...]:
        return (SERVER,)

    def ready(self, target: FaultTarget) -> None:
        if SERVER not in target.actors:
            raise UsageError("the server is not running")


# --- honest, but not well -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Stop(ServerFault):
    """The server closes its connections and stops; when healed it starts with empty rooms."""

    kind = "server-stop"
    kill = False

    def begin(self, target: FaultTarget, index: int) -> None:
        target.stop_server(kill=self.kill)

    def end(self, target: FaultTarget, index: int) -> None:
        if SERVER not in target.actors:
            target.restart_server()

    def sentence(self) -> str:
        return "the server is killed" if self.kill else "the server stops"


@dataclass(frozen=True, kw_only=True)
class Kill(Stop):
    """The server dies without a word; when healed it starts with empty rooms."""

    kind = "server-kill"
    kill = True


@dataclass(frozen=True, kw_only=True)
class ServerRestart(ServerFault):
    """The server stops, if it runs, and starts again at once, with empty rooms."""

    kind = "server-restart"
    momentary = True

    def ready(self, target: FaultTarget) -> None:
        """Running or not."""

    def begin(self, target: FaultTarget, index: int) -> None:
        if SERVER in target.actors:
            target.stop_server()
        target.restart_server()

    def sentence(self) -> str:
        return "the server restarts"


@dataclass(frozen=True, kw_only=True)
class ServerSlow(ServerFault):
    """Each step of the server takes so much time."""

    kind = "server-slow"
    step: int = the(a_lasting, 20_000, format_duration)

    def begin(self, target: FaultTarget, index: int) -> None:
        target.slow(SERVER, self.step)

    def end(self, target: FaultTarget, index: int) -> None:
        if SERVER in target.actors:
            target.slow(SERVER, 0)

    def sentence(self) -> str:
        return f"the server needs {format_duration(self.step)} for each step"


# --- malicious ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class MaliciousServer(ServerFault):
    """Base: the server mishandles messages that it should pass on.

    `from` limits it to what some parties send; `rate` says how often it does it.
    """

    byzantine = True
    from_: tuple[Party, ...] | None = the(some_parties, None, list)
    rate: float = the(a_rate, 1.0)

    def ready(self, target: FaultTarget) -> None:
        """Always: a server that starts later will be malicious then."""

    def begin(self, target: FaultTarget, index: int) -> None:
        target.set_filter(SERVER, Meddling(self), index)

    def end(self, target: FaultTarget, index: int) -> None:
        target.set_filter(SERVER, None, index)

    def meddle(self, send: Send, adversary: AdversaryContext, past: list[Frame]) -> list[Effect]:
        """The effects performed instead of `send`."""
        raise NotImplementedError

    def whose(self) -> str:
        often = "" if self.rate == 1 else f" ({self.rate:.0%} of it)"
        whose = f"what {names(self.from_)} send{'s' * (len(self.from_) == 1)}" if self.from_ else ""
        return (whose or "what it should pass on") + often


PASSED_ON = ("Relayed", "Announced")
"""The messages in which the server passes a party's payload on; `sender` says whose."""


@dataclass
class Meddling:
    """The filter of one active `MaliciousServer`."""

    fault: MaliciousServer
    past: list[Frame] = field(default_factory=list)

    KEPT = 64

    def __call__(self, effects: list[Effect], adversary: AdversaryContext) -> list[Effect]:
        done: list[Effect] = []
        for effect in effects:
            if type(effect) is not Send or not self._meant(effect, adversary):
                done.append(effect)
                continue
            done += self.fault.meddle(effect, adversary, self.past)
            self.past.append(effect.frame)
            del self.past[: -self.KEPT]
        return done

    def _meant(self, send: Send, adversary: AdversaryContext) -> bool:
        msg: Any = send.frame.msg
        if type(msg).__name__ not in PASSED_ON:
            return False
        wanted = self.fault.from_ is None or msg.sender in self.fault.from_
        return wanted and adversary.draw("meddle?", send.frame.id) < self.fault.rate


@dataclass(frozen=True, kw_only=True)
class Withhold(MaliciousServer):
    """The server does not pass on messages."""

    kind = "server-drop"

    def meddle(self, send: Send, adversary: AdversaryContext, past: list[Frame]) -> list[Effect]:
        return []

    def sentence(self) -> str:
        return f"the server withholds {self.whose()}"


@dataclass(frozen=True, kw_only=True)
class Forge(MaliciousServer):
    """The server passes on messages of others as if party `as` had sent them."""

    kind = "server-forge"
    as_: Party = the(a_party)

    def meddle(self, send: Send, adversary: AdversaryContext, past: list[Frame]) -> list[Effect]:
        msg: Any = send.frame.msg
        if msg.sender == self.as_:
            return [send]
        adversary.remark(f"relays a message of party {msg.sender} as if from party {self.as_}")
        forged = msgspec.structs.replace(msg, sender=self.as_)
        return [Send(send.to, reframed(send.frame, adversary, forged))]

    def sentence(self) -> str:
        return f"the server passes on {self.whose()} as if party {self.as_} had said it"


@dataclass(frozen=True, kw_only=True)
class ServerReplay(MaliciousServer):
    """The server passes on old messages again, to whom it likes."""

    kind = "server-replay"

    def meddle(self, send: Send, adversary: AdversaryContext, past: list[Frame]) -> list[Effect]:
        if not past:
            return [send]
        old = past[int(len(past) * adversary.draw("replay which", send.frame.id))]
        if old.msg is None:
            return [send]
        adversary.remark(f"passes on message {old.id} again")
        return [send, Send(send.to, reframed(old, adversary, old.msg))]

    def sentence(self) -> str:
        return f"the server passes on {self.whose()}, and old messages again"


_FINGERPRINT = re.compile(r"(a=fingerprint:sha-256 )([0-9A-Fa-f:]+)")


@dataclass(frozen=True, kw_only=True)
class SwapFingerprints(MaliciousServer):
    """The server puts its own fingerprint into offers and answers, to get into the links."""

    kind = "server-swap-fingerprints"

    def meddle(self, send: Send, adversary: AdversaryContext, past: list[Frame]) -> list[Effect]:
        msg: Any = send.frame.msg
        payload = msgspec.json.decode(msg.payload)
        if not isinstance(payload, dict) or not isinstance(payload.get("sdp"), str):
            return [send]
        own = hashlib.sha256(b"the server's own certificate").hexdigest().upper()
        print_ = ":".join(own[i : i + 2] for i in range(0, 64, 2))
        payload["sdp"] = _FINGERPRINT.sub(rf"\g<1>{print_}", payload["sdp"])
        adversary.remark(f"puts its own fingerprint into an offer of party {msg.sender}")
        swapped = msgspec.structs.replace(msg, payload=msgspec.Raw(msgspec.json.encode(payload)))
        return [Send(send.to, reframed(send.frame, adversary, swapped))]

    def sentence(self) -> str:
        return f"the server puts its own fingerprint into {self.whose()}"
