"""Numbers of parties where a world hosts several sessions."""

from dataclasses import dataclass

from mpclab.core.ids import Party


@dataclass(frozen=True, slots=True)
class Numbering:
    """One session's parties: party p of 1 to `n` is the world's actor `base + p`.

    The server and the experiment itself (0 and below) are the same in all sessions.
    """

    base: int
    n: int

    def actor(self, party: Party) -> Party:
        return party if party <= 0 else self.base + party

    def party(self, actor: Party) -> Party | None:
        """None: of another session."""
        if actor <= 0:
            return actor
        return actor - self.base if self.base < actor <= self.base + self.n else None

    def parties(self, actors: tuple[Party, ...]) -> tuple[Party, ...]:
        """Those of `actors` that are of this session."""
        found = map(self.party, actors)
        return tuple(party for party in found if party is not None)
