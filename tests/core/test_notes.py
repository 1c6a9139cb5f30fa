"""Notes are a closed set: what no class has is refused, and every reader knows every class."""

import inspect
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from mpclab.core import Ctx, Machine, Node, UsageError, notes
from mpclab.core.effects import Effect, Event, Note, Started
from mpclab.core.errors import Strength
from mpclab.core.notes import CLASSES, AnyNote, Decided, Remark, named, op_of, word_of
from mpclab.core.wire import Frame
from mpclab.panels.sentences import sentence
from mpclab.plots.marks import find_marks
from mpclab.trace import Noted, Trace, rows
from mpclab.trace.export import to_pandas
from mpclab.trace.fold import State, fold
from mpclab.view.feed import Feed
from mpclab.worlds.rows import record
from tests.core.test_node import coins
from tools.notes_table import explain, table

ROOT = Path(__file__).parents[2]


def some(kind: type[msgspec.Struct]) -> msgspec.Struct:
    """An instance with every field filled in."""
    values = {int: 1, str: "x", bool: True, float: 1.0, bytes: b"x", Frame: Frame(1, (), body=b"x"),
              Strength: Strength.KNOWN}  # fmt: skip
    fields = {}
    for field in msgspec.structs.fields(kind):
        wanted = field.type
        each = get_args(wanted)
        if field.name == "via":
            fields[field.name] = "link"
        elif wanted in values:
            fields[field.name] = values[wanted]
        elif each and type(None) in each:
            fields[field.name] = values.get(each[0])
        elif "tuple[tuple" in str(wanted):
            fields[field.name] = ((1 if "tuple[tuple[int" in str(wanted) else "x", 1),)
        elif "tuple" in str(wanted).lower():
            fields[field.name] = (1,) if "int" in str(wanted) else ("x",)
        elif "dict" in str(wanted):
            fields[field.name] = {"x": 1}
        elif wanted is AnyNote or "Decided" in str(wanted):
            fields[field.name] = Decided("x")
        else:
            fields[field.name] = "x"
    return kind(**fields)


class Says(Machine):
    def __init__(self, say) -> None:  # type: ignore[no-untyped-def]
        self.say = say

    def start(self, ctx: Ctx) -> None:
        self.say(ctx)


def said(say) -> AnyNote:  # type: ignore[no-untyped-def]
    [effect] = Node(1, 1, Says(say), coins=coins).step(Started(), 0)
    assert isinstance(effect, Note)
    return effect.note


# --- by name ----------------------------------------------------------------------------------


def test_a_note_may_be_an_instance_or_its_word_and_fields() -> None:
    assert said(lambda ctx: ctx.note(Decided("x", 3))) == Decided("x", 3)
    assert said(lambda ctx: ctx.note("decided", op="x", index=3)) == Decided("x", 3)
    waits = said(lambda ctx: ctx.note("blocked", waiting_for=[2, 3], why="silence"))
    assert waits == notes.Blocked((2, 3), "silence")


@pytest.mark.parametrize(
    ("word", "fields", "message"),
    [
        ("decded", {"op": "x"}, "note 'decded' is not known; did you mean 'decided'?"),
        ("half-way", {}, r"ctx.remark\(what"),
        ("became-leader", {"trem": 3}, "has no field 'trem'; did you mean 'term'?"),
        ("blocked", {"why": "x"}, "missing required field `waiting_for`"),
        ("decided", {"op": 3}, "Expected `str`, got `int`"),
    ],
)
def test_what_no_class_has_is_refused(word: str, fields: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        said(lambda ctx: ctx.note(word, **fields))


def test_a_free_word_is_asked_for_as_such() -> None:
    note = said(lambda ctx: ctx.remark("half way", left=3))
    assert (note, word_of(note), op_of(note)) == (Remark("half way", {"left": 3}), "half way", "")


def test_a_trace_gives_notes_by_class_or_word_and_refuses_others() -> None:
    trace = Trace()
    trace.append(Noted(1, 1, (), Decided("x")))
    trace.append(Noted(2, 1, (), Remark("half way")))
    assert trace.notes("decided") == trace.notes(Decided) == [trace.rows[0]]
    assert trace.remarks("half way") == trace.remarks() == [trace.rows[1]]
    with pytest.raises(UsageError, match="did you mean 'decided'"):
        trace.notes("decide")


# --- every reader knows every class -----------------------------------------------------------


@pytest.mark.parametrize("word", CLASSES)
@pytest.mark.parametrize("actor", [0, 1])
def test_every_reader_knows_every_note(word: str, actor: int, tmp_path: Path) -> None:
    row = Noted(1, actor, ("session",), some(CLASSES[word]))  # type: ignore[arg-type]
    trace = Trace()
    trace.append(row)
    fold(trace)
    find_marks([row])
    assert sentence(row).words
    assert Feed(trace).read()
    assert len(to_pandas(trace)) == 1
    trace.save(tmp_path / "trace")
    assert list(Trace.load(tmp_path / "trace")) == [row]


@pytest.mark.parametrize("kind", get_args(rows.Row), ids=lambda kind: kind.__name__)
def test_every_reader_knows_every_row(kind: type[msgspec.Struct]) -> None:
    row = some(kind)
    State().apply(row)  # type: ignore[arg-type]
    assert sentence(row).words  # type: ignore[arg-type]
    trace = Trace()
    trace.append(row)  # type: ignore[arg-type]
    assert Feed(trace).read()
    assert len(to_pandas(trace)) == 1


@pytest.mark.parametrize("kind", get_args(Effect), ids=lambda kind: kind.__name__)
def test_every_effect_has_its_row_or_none(kind: type[msgspec.Struct]) -> None:
    record(Trace(), 0, 1, some(kind))  # type: ignore[arg-type]


class Unheard(msgspec.Struct, frozen=True):
    """What somebody added and nobody handles."""

    at: int = 0
    actor: int = 1
    path: tuple[str, ...] = ()


def test_what_a_reader_does_not_know_it_does_not_pass_over() -> None:
    note = Noted(0, 1, (), Unheard())  # type: ignore[arg-type]
    for read in (State().apply, sentence, lambda row: find_marks([row])):
        with pytest.raises(AssertionError, match="Unheard"):
            read(note)
    for read in (State().apply, sentence):
        with pytest.raises(AssertionError, match="Unheard"):
            read(Unheard())
    with pytest.raises(AssertionError, match="Unheard"):
        record(Trace(), 0, 1, Unheard())  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="Unheard"):
        Node(1, 1, Machine(), coins=coins).step(Unheard(), 0)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="Unheard"):
        Node(1, 1, Says(lambda ctx: ctx.do(Unheard())), coins=coins).step(Started(), 0)
    assert Unheard not in get_args(Event)


# --- the glossary -----------------------------------------------------------------------------


@pytest.mark.parametrize("word", CLASSES)
def test_each_note_says_who_writes_it_who_reads_it_and_what_is_missing_without(word: str) -> None:
    told = explain(CLASSES[word])
    assert all(told.values())
    assert inspect.getdoc(CLASSES[word])


def test_the_table_in_the_documentation_is_that_of_the_classes() -> None:
    assert (ROOT / "docs/notes.md").read_text() == table(), "run make docs-tables"


def test_a_note_by_name_goes_through_the_same_classes() -> None:
    assert {type(named("remark", {"what": "x"})), type(named("started", {}))} == {
        Remark, notes.Started,
    }  # fmt: skip
