"""One registry for each kind of thing: words, suggestions, whose they are, and their parameters."""

import copy

import pytest

from mpclab.core import MS, Duration, UsageError
from mpclab.core.registry import REGISTRIES, Registry, parameters, read_arguments, word_of


class Animal:
    pass


class GreatTit(Animal):
    pass


class Renamed(Animal):
    word = "rook"


class Heir(Renamed):
    pass


def animals() -> Registry[type[Animal]]:
    made = Registry("animal", {"owl": Animal}, accepts=lambda x: isinstance(x, type), word=word_of)
    REGISTRIES.remove(made)
    return made


def test_a_thing_says_its_own_word() -> None:
    assert word_of(GreatTit) == "great-tit"
    assert word_of(Renamed) == "rook"
    assert word_of(Heir) == "heir", "a word is not inherited: two classes would share it"
    assert word_of(test_a_thing_says_its_own_word) == "test-a-thing-says-its-own-word"


def test_what_is_registered_is_found_and_suggested() -> None:
    known = animals()
    assert known.register(GreatTit) is GreatTit
    assert known["great-tit"] is GreatTit
    assert list(known) == ["owl", "great-tit"]
    assert known.added == {"great-tit": GreatTit}
    with pytest.raises(UsageError, match="zoo: 'great-tut' is not known; did you mean 'great-tit'"):
        known.find("great-tut", "zoo")
    known.unregister("great-tit")
    assert "great-tit" not in known


def test_the_house_keeps_its_words_and_yours_may_be_registered_again() -> None:
    known = animals()
    with pytest.raises(UsageError, match="'owl' is one of mpclab's own; choose another word"):
        known.register(Renamed, "owl")
    with pytest.raises(UsageError, match="own"):
        known.unregister("owl")
    known.register(GreatTit, "bird")
    known.register(Renamed, "bird")
    assert known["bird"] is Renamed


@pytest.mark.parametrize("word", ["", "Tit", "a b", "a_b", "a(b)"])
def test_a_word_that_no_file_can_say_is_refused(word: str) -> None:
    known = Registry[type[Animal]]("animal")
    with pytest.raises(UsageError, match="lower-case letters, digits and dashes"):
        known.register(GreatTit, word)


def test_a_copy_of_a_world_knows_the_same_things() -> None:
    known = animals()
    assert copy.deepcopy(known) is known


def late(facts: object, within: Duration = 500 * MS, least: int = 1, strict: bool = False,
         share: float = 0.5, who: str = "all") -> None:  # fmt: skip
    pass


def needy(facts: object, within: Duration) -> None:
    pass


def test_arguments_are_read_by_their_annotations() -> None:
    assert list(parameters(late)) == ["within", "least", "strict", "share", "who"]
    given = {"within": "1.5s", "least": "3", "strict": True, "share": 0.25, "who": "party 2"}
    assert read_arguments(late, given, "checks.late") == {
        "within": 1_500_000, "least": 3, "strict": True, "share": 0.25, "who": "party 2"
    }  # fmt: skip
    assert read_arguments(late, {"strict": "false"}, "") == {"strict": False}


@pytest.mark.parametrize(
    ("function", "given", "answer"),
    [
        (late, {"withn": "1s"}, "late.withn is not known; did you mean 'within'"),
        (late, {"within": "soon"}, "late.within: 'soon' is not a duration"),
        (late, {"within": 500}, "late.within: 500 is not a duration"),
        (late, {"least": "many"}, "late.least: 'many'; write a whole number"),
        (late, {"least": True}, "late.least: True; write a whole number"),
        (late, {"strict": "perhaps"}, "late.strict: 'perhaps'; write true or false"),
        (late, {"who": [1]}, r"late.who: \[1\]; write text"),
        (needy, {}, "late.within is missing"),
        (animals, {"x": 1}, "late.x is not known; it has no parameters"),
    ],
)
def test_a_wrong_argument_is_named(function: object, given: dict[str, object], answer: str) -> None:
    with pytest.raises(UsageError, match=answer):
        read_arguments(function, given, "late")  # type: ignore[arg-type]
