"""A refresh protects only if the old shares are gone: from stores, and from memory."""

from __future__ import annotations

import gc

import pytest

from mpclab.core.ids import MS, SECOND, Party
from mpclab.crypto.keys import KeyShare
from mpclab.mpc.records import KeyRecord, open_share
from mpclab.testing.sessions import Sessions, identity


def made(s: Sessions, op: str) -> KeyRecord:
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}
    return KeyRecord.from_bytes(s.session(1).executor.results[op].data)


def sealed(s: Sessions, op: str) -> dict[Party, bytes]:
    """The shares that parties have of `op`'s key, as they are stored. Sealing draws no coins, so
    one share is the same bytes wherever it is kept."""
    return {
        p: secret for p in s.up if (secret := s.session(p).executor.secrets.get(op)) is not None
    }


def stored(s: Sessions, p: Party) -> bytes:
    node = s.world.look(p, lambda node: node)
    return b"|".join(value for items in node.stored.values() for value in items.values())


def opened(old: dict[Party, bytes], record: KeyRecord) -> set[int]:
    return {open_share(identity(p), record.key(), p, data).secret for p, data in old.items()}


def assert_gone(s: Sessions, old: dict[Party, bytes], record: KeyRecord) -> None:
    secrets = opened(old, record)
    gc.collect()
    objects = gc.get_objects()
    assert not [o for o in objects if isinstance(o, KeyShare) and o.secret in secrets]
    for p, data in old.items():
        assert data not in stored(s, p)
        holders = [o for o in objects if type(o) is dict and o is not old]
        assert not [o for o in holders if any(type(v) is bytes and v == data for v in o.values())]


@pytest.mark.parametrize("kind", ["refresh", "reshare"])
@pytest.mark.parametrize("restart", [False, True])
def test_old_shares_are_nowhere_once_they_were_replaced(kind: str, restart: bool) -> None:
    s = Sessions(4, t=2)
    key = s.propose(1, "dkg")
    record = made(s, key)
    signature = s.propose(2, "sign", key=key, message="an executor with the old share")
    s.run()
    old = sealed(s, key)
    assert old.keys() == {1, 2, 3, 4}
    assert all(data in stored(s, p) for p, data in old.items()), "the search is not blind"
    if restart:
        for p in s.members:
            s.world.crash(p)
            s.world.restart(p)
        s.run()
    new = s.propose(3, kind, key=key)
    assert made(s, new).public == record.public
    assert sealed(s, new).keys() == {1, 2, 3, 4}
    assert all(data in stored(s, p) for p, data in sealed(s, new).items())
    assert_gone(s, old, record)
    for p in s.members:
        s.world.crash(p)
        s.world.restart(p)
    s.run()
    assert sealed(s, key) == {}
    again = s.propose(4, "sign", key=new, message="by the new shares")
    s.run()
    assert set(s.statuses(again).values()) == {"executed"}
    assert set(s.statuses(signature).values()) == {"executed"}
    assert_gone(s, old, record)


def test_a_repaired_share_goes_with_the_key_it_is_of() -> None:
    """The repair gave the same shares a second name; the first is refreshed."""
    s = Sessions(3, t=2)
    key = s.propose(1, "dkg")
    record = made(s, key)
    old = sealed(s, key)
    s.world.crash(2)
    s.world.restart(2, amnesia=True)
    s.run()
    mended = s.propose(1, "repair", key=key, party=2)
    made(s, mended)
    assert sealed(s, mended) == old
    made(s, s.propose(1, "refresh", key=key))
    assert sealed(s, key) == sealed(s, mended) == {}
    assert_gone(s, old, record)


def test_who_would_refresh_the_old_shares_is_told_which_replaced_them() -> None:
    s = Sessions(3, t=2)
    key = s.propose(1, "dkg")
    made(s, key)
    new = s.propose(1, "refresh", key=key)
    made(s, new)
    began = s.world.now
    op = s.propose(2, "refresh", key=key)
    s.run()
    assert set(s.statuses(op).values()) == {"failed"}
    why = f"the secrets of {key} were replaced by those of {new}: name that"
    assert {s.at(p, op).reason for p in s.members} == {why}
    assert s.at(1, op).ended_at < began + SECOND  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["sign", "beacon"])
@pytest.mark.parametrize("behind", range(0, 120, 8))
def test_who_names_shares_that_are_being_replaced_means_the_new_ones(
    kind: str, behind: int
) -> None:
    """However far the refresh is: one that has begun with the old shares begins anew."""
    s = Sessions(3, t=3, seed=behind)
    key = s.propose(1, "dkg")
    made(s, key)
    old, record = sealed(s, key), KeyRecord.from_bytes(s.session(1).executor.results[key].data)
    new = s.propose(1, "refresh", key=key)
    s.run(behind * MS)
    op = s.propose(2, kind, key=key, **({"message": "not too late"} if kind == "sign" else {}))
    made(s, new)
    assert set(s.statuses(op).values()) == {"executed"}
    assert len({s.at(p, op).result for p in s.members}) == 1
    assert_gone(s, old, record)
    assert not s.blames()


def test_who_is_told_of_a_refresh_deletes_too_and_still_gets_its_new_share() -> None:
    """Party 3 signed the new key, heard no confirmation, and crashed: the others tell it that
    the refresh is done, and then confirm what it had kept."""
    s = Sessions(3, t=2, policy="threshold(2)", round_deadline=SECOND)
    key = s.propose(1, "dkg")
    record = made(s, key)
    old = sealed(s, key)

    def lost(src: Party, dst: Party, draw: object) -> bool:
        rounds = [row for row in s.notes("round") if row.path[-1] == f"refresh-{new}"]
        signed = [row.at for row in rounds if row.note.round == 3]
        if not signed:
            return False
        return dst == 3 or (src == 3 and s.world.now > signed[0] + 50 * MS)

    new = ""
    s.lossy(lost)
    new = s.propose(1, "refresh", key=key)
    s.run()
    assert s.statuses(new) == {1: "executed", 2: "executed", 3: "failed"}
    assert sealed(s, key).keys() == {3}
    s.heal()
    s.world.crash(3)
    s.world.restart(3)
    made(s, new)
    assert sealed(s, new).keys() == {1, 2, 3}
    assert_gone(s, old, record)


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_crash_between_two_effects_leaves_no_old_share_either(seed: int) -> None:
    """Party 3 dies in the middle of the step in which it is done: after any of its effects."""
    s = Sessions(3, t=2, seed=seed)
    key = s.propose(1, "dkg")
    record = made(s, key)
    old = sealed(s, key)
    new = s.propose(1, "refresh", key=key)
    path = ("session", f"refresh-{new}")
    s.world.run(lambda: any(r.path == path and r.note.round == 3 for r in s.notes("round")))
    s.world.tear(3)
    s.world.run(lambda: 3 not in s.world.actors)
    s.world.restart(3)
    made(s, new)
    assert sealed(s, new).keys() == {1, 2, 3}
    assert stored(s, 3).count(sealed(s, new)[3]) == 1, "the machine's own copy is gone too"
    assert_gone(s, old, record)
