"""How the epochs of `acs` ended: our own record, and what others say of those that we missed."""

from __future__ import annotations

from typing import TypeAlias

from mpclab.consensus.acs_messages import AcsEnded, AcsRequest
from mpclab.core.ids import Party

Ops: TypeAlias = tuple[AcsRequest, ...]


class Record:
    """The ended epochs.

    Attributes:
        ended: what each decided, from epoch 0.
    """

    PAGE = 16
    """Epochs told at once."""

    def __init__(self, f: int, patience: int) -> None:
        self.f, self.patience = f, patience
        self.ended: list[Ops] = []
        self._claims: dict[int, dict[Party, Ops]] = {}  # by epoch, from ours on
        self._answered: dict[Party, tuple[int, int]] = {}  # the last epoch told, and when

    @property
    def now(self) -> int:
        """The epoch that goes on."""
        return len(self.ended)

    def end(self, ops: Ops) -> None:
        self._claims.pop(self.now, None)
        self.ended.append(ops)

    def claim(self, party: Party, epoch: int, ops: Ops) -> None:
        """A party says that an epoch ended so."""
        if self.now <= epoch < self.now + self.PAGE:
            self._claims.setdefault(epoch, {})[party] = ops

    def believed(self) -> Ops | None:
        """How our epoch ended, if f + 1 say the same: one of them is honest."""
        said = list(self._claims.get(self.now, {}).values())
        return next((ops for ops in said if said.count(ops) > self.f), None)

    def page(self, epoch: int) -> list[AcsEnded]:
        """The ended epochs from this one on, as many as are told at once."""
        most = min(self.now, epoch + self.PAGE)
        return [AcsEnded(k, self.ended[k]) for k in range(epoch, most)]

    def may_answer(self, whom: Party, epoch: int, now: int) -> bool:
        """Once in a patience, or when it is further than before: a short question has a long
        answer. An epoch of −1 is a question of ours."""
        last, when = self._answered.get(whom, (-2, -self.patience))
        if epoch <= last and now - when < self.patience:
            return False
        self._answered[whom] = (epoch, now)
        return True
