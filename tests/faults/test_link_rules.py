"""Link rules by themselves: order of rules, holding, and two threads."""

import threading
from dataclasses import dataclass

from mpclab.faults.link_rules import PASSES, Delivery, Draw, LinkRules


@dataclass
class Later:
    by: int
    factor: int = 1

    def judge(
        self, src: int, dst: int, size: int, now: int, draw: Draw, delivery: Delivery
    ) -> Delivery:
        return delivery._replace(delay=delivery.delay * self.factor + self.by)


@dataclass
class Ends:
    delivery: Delivery

    def judge(
        self, src: int, dst: int, size: int, now: int, draw: Draw, delivery: Delivery
    ) -> Delivery:
        return self.delivery


def judge(link_rules: LinkRules) -> Delivery:
    return link_rules.judge(1, 2, 10, 0, lambda purpose: 0.5)


def test_rules_act_in_the_order_in_which_they_came() -> None:
    link_rules = LinkRules()
    assert link_rules.quiet
    assert judge(link_rules) == PASSES
    link_rules.add(link_rules.number(), Later(3))
    link_rules.add(link_rules.number(), Later(1, factor=10))
    assert judge(link_rules).delay == 31
    link_rules.remove(0)
    assert judge(link_rules).delay == 1


def test_a_lost_or_held_message_meets_no_further_rule() -> None:
    for end in (Delivery(why="loss"), Delivery(held=0)):
        link_rules = LinkRules()
        link_rules.add(0, Ends(end))
        link_rules.add(1, Later(3))
        assert judge(link_rules) == end


def test_numbers_are_given_once() -> None:
    link_rules = LinkRules()
    assert [
        link_rules.number(),
        link_rules.number(7),
        link_rules.number(),
        link_rules.number(2),
    ] == [0, 7, 8, 2]
    assert link_rules.number() == 9


def test_what_is_held_goes_when_its_rule_does_and_in_order() -> None:
    link_rules, gone = LinkRules(), list[int]()
    for i in range(3):
        link_rules.hold(4, lambda i=i: gone.append(i))  # type: ignore[misc]
    link_rules.hold(5, lambda: gone.append(99))
    assert link_rules.held == 4
    link_rules.remove(4)
    link_rules.remove(4)
    assert gone == [0, 1, 2]
    assert link_rules.held == 1


def test_one_thread_judges_while_another_changes_the_rules() -> None:
    link_rules = LinkRules()
    for handle in range(50):
        link_rules.add(handle, Later(1))
    stop, errors = threading.Event(), list[Exception]()

    def churn() -> None:
        handle = 50
        while not stop.is_set():
            link_rules.add(handle, Later(1))
            link_rules.remove(handle)
            handle += 1

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(2000):
            assert 50 <= judge(link_rules).delay <= 51
    except RuntimeError as error:
        errors.append(error)
    finally:
        stop.set()
        thread.join()
    assert errors == []
