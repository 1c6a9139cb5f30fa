"""Which result of each key is in use, and what it replaced: the same at all who know the same.

Several operations may replace the shares of one key. Two that run at once must not both do: a
holder that the one removed would keep what the other gave it. The rules:

* Of all *certified* results about one key the one in use is that of the operation proposed last,
  by (lamport, id). Both are in the signed proposal, so nobody has to be asked, and whoever learns
  of another result later still comes to the same.
* A party binds itself to the operation proposed first, and to no other until that one has ended
  here. Then the other finds its shares replaced and ends without a result.
* A party never binds itself to an operation proposed earlier than one that it is bound to. So once
  a result is in use, whatever its signers were bound to before was proposed earlier, and loses.
* While it is bound to one that may still be completed, it binds itself only to one that gives no
  share to anybody from whom that one takes it. Else who is removed could keep its signature of both
  back, complete the first, which is believed, and the second a year later, and hold a share again.

Numbered, since it is subtle: (1) party 1 binds itself to A, and A fails at it, for a confirmation
that somebody keeps back. (2) B, proposed later, may now bind it, or the key could never be
refreshed again. (3) The confirmation of A is shown after all: A is in use, where B is not known to
be done. (4) B is done: it was proposed later, so it is in use, at all who hear of both. Nobody lost
a share meanwhile: what a party signed it keeps until a result proposed later is in use here.
"""

from __future__ import annotations

from collections.abc import Mapping

from mpclab.coordinator.operation import Operation
from mpclab.operations.spec import Operations, Result


class Succession:
    """`operations` and `results` are the session's own mappings."""

    def __init__(
        self, kinds: Operations, operations: Mapping[str, Operation], results: Mapping[str, Result]
    ) -> None:
        self._kinds, self._operations, self._results = kinds, operations, results
        self._in_use: dict[bytes, str] = {}  # key → the operation whose result is in use
        self._replaced: dict[str, str] = {}  # op → what replaced its secrets, where no key is known
        self._keys: dict[str, bytes] = {}

    def key(self, op: str) -> bytes | None:
        """The key that the result of `op` is about, or that `op` would replace the shares of."""
        if op not in self._keys:
            o = self._operations.get(op)
            if o is None or o.signed is None or o.kind not in self._kinds:
                return None
            about, result = self._kinds[o.kind].about, self._results.get(op)
            if about is not None and result is not None:
                self._keys[op] = about(result.data)
            else:
                named = {self.key(old) for old in self.replaced_by(o)} - {None}
                if len(named) != 1:
                    return None
                self._keys[op] = named.pop() or b""
        return self._keys[op]

    def rank(self, o: Operation) -> tuple[int, str]:
        """When it was proposed, the same for all."""
        assert o.signed is not None
        return o.signed.proposal.lamport, o.op

    def replaced_by(self, o: Operation) -> tuple[str, ...]:
        """The operations whose secrets `o` names as what it replaces."""
        if o.invalid_reason or o.kind not in self._kinds:
            return ()
        spec = self._kinds[o.kind]
        return tuple(spec.retires(spec.read(o.params)))

    def add(self, o: Operation) -> bool:
        """`o` is executed. Whether some secrets are out of use from now on."""
        replaced = self.replaced_by(o)
        key = self.key(o.op)
        if key is not None and self._kinds[o.kind].certified:
            known = self._in_use.get(key)
            if known is None or self.rank(self._operations[known]) < self.rank(o):
                self._in_use[key] = o.op
            return known is not None or bool(replaced)
        for old in replaced:
            self._replaced.setdefault(old, o.op)
        return bool(replaced)

    def successor(self, op: str, data: bytes = b"") -> str | None:
        """The operation that replaced the secrets of `op`. One secret may belong to several
        operations, such as a key and its repair: their public bytes are the same."""
        if not data and op in self._results:
            data = self._results[op].data
        key = self.key(op)
        if key is not None and (found := self._in_use.get(key)) is not None:
            if found == op or (data and self._results[found].data == data):
                return None
            o = self._operations[op]
            if self._kinds[o.kind].certified and self.rank(self._operations[found]) < self.rank(o):
                return None  # signed here, and perhaps certified elsewhere
            return found
        for old, successor in self._replaced.items():
            known = self._results.get(old)
            if old == op or (data and known is not None and known.data == data):
                return successor
        return None

    def rivals(self, o: Operation) -> tuple[Operation, ...]:
        """The other operations that would replace the shares of the same key."""
        key = self.key(o.op) if self.replaced_by(o) else None
        if key is None:
            return ()
        return tuple(
            other
            for other in self._operations.values()
            if other is not o
            and other.signed is not None
            and self.replaced_by(other)
            and self.key(other.op) == key
        )
