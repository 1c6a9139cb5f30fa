"""Options of the protocols: read from a file's mapping, written back, refused by name."""

import dataclasses

import pytest

from mpclab.consensus.options import Options
from mpclab.consensus.raft import RaftOptions
from mpclab.consensus.registry import AGREEMENTS, options
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND


@pytest.mark.parametrize("name", sorted(AGREEMENTS))
def test_every_option_of_every_protocol_says_what_it_is(name: str) -> None:
    kind = AGREEMENTS[name].options_type
    assert options(name, {}) == kind()
    assert kind().write() == {}
    for setting in kind.settings().values():
        assert setting.says
    assert "patience" in kind.settings()


def test_a_files_words_are_read_and_written_back() -> None:
    given = {"election_timeout": "2s", "prevote": False, "compaction": 8, "patience": "1500ms"}
    read = options("raft", given)
    assert read == RaftOptions(
        election_timeout=2 * SECOND, prevote=False, compaction=8, patience=1500 * MS
    )
    assert options("raft", read.write()) == read
    assert read.write() == given
    assert read.timeouts == (2 * SECOND, 4 * SECOND)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"election": "2s"}, r"agreement.raft: 'election' is not an option; did you mean"),
        ({"election_timeout": 2}, r"agreement.raft.election_timeout: 2 is not a duration"),
        ({"election_timeout": "2min", "heartbeat": "0ms"}, r"heartbeat: 0ms is out of bounds"),
        ({"prevote": "no"}, r"prevote: 'no' is neither true nor false"),
        ({"compaction": 0}, r"compaction: 0 is out of bounds; use 1 to"),
        ({"compaction": True}, r"compaction: True is not a whole number"),
        ({"batch": 1.5}, r"batch: 1.5 is not a whole number"),
    ],
)
def test_an_unfit_option_is_refused_by_name(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        options("raft", given)


def test_options_are_frozen_and_have_defaults() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().patience = 3  # type: ignore[misc]
