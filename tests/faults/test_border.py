"""The border by itself: order of rules, holding, and two threads."""

import threading
from dataclasses import dataclass

from mpclab.faults.border import PASSES, Border, Draw, Fate


@dataclass
class Later:
    by: int
    factor: int = 1

    def judge(self, src: int, dst: int, size: int, now: int, draw: Draw, fate: Fate) -> Fate:
        return fate._replace(delay=fate.delay * self.factor + self.by)


@dataclass
class Ends:
    fate: Fate

    def judge(self, src: int, dst: int, size: int, now: int, draw: Draw, fate: Fate) -> Fate:
        return self.fate


def judge(border: Border) -> Fate:
    return border.judge(1, 2, 10, 0, lambda purpose: 0.5)


def test_rules_act_in_the_order_in_which_they_came() -> None:
    border = Border()
    assert border.quiet
    assert judge(border) == PASSES
    border.add(border.number(), Later(3))
    border.add(border.number(), Later(1, factor=10))
    assert judge(border).delay == 31
    border.remove(0)
    assert judge(border).delay == 1


def test_a_lost_or_held_message_meets_no_further_rule() -> None:
    for end in (Fate(why="loss"), Fate(held=0)):
        border = Border()
        border.add(0, Ends(end))
        border.add(1, Later(3))
        assert judge(border) == end


def test_numbers_are_given_once() -> None:
    border = Border()
    assert [border.number(), border.number(7), border.number(), border.number(2)] == [0, 7, 8, 2]
    assert border.number() == 9


def test_what_is_held_goes_when_its_rule_does_and_in_order() -> None:
    border, gone = Border(), list[int]()
    for i in range(3):
        border.hold(4, lambda i=i: gone.append(i))  # type: ignore[misc]
    border.hold(5, lambda: gone.append(99))
    assert border.held == 4
    border.remove(4)
    border.remove(4)
    assert gone == [0, 1, 2]
    assert border.held == 1


def test_one_thread_judges_while_another_changes_the_rules() -> None:
    border = Border()
    for handle in range(50):
        border.add(handle, Later(1))
    stop, errors = threading.Event(), list[Exception]()

    def churn() -> None:
        handle = 50
        while not stop.is_set():
            border.add(handle, Later(1))
            border.remove(handle)
            handle += 1

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(2000):
            assert 50 <= judge(border).delay <= 51
    except RuntimeError as error:
        errors.append(error)
    finally:
        stop.set()
        thread.join()
    assert errors == []
