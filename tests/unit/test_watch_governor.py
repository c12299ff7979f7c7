"""The governor keeps recording under the budget: fed with made-up timings of made-up loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from nnwidget.training.governor import LEVELS, Governor

EXTRA = {None: 1.0, 16_384: 0.5, 4_096: 0.2}


@dataclass
class Loop:
    """A loop whose steps, looks and records cost what the test says, in seconds."""

    governor: Governor
    step: float
    look: float
    record: float  # at full measure; the cheaper levels cost a half and a fifth of it
    noise: Callable[[int], float] = lambda step: 0.0
    spent: float = 0.0
    plain: float = 0.0
    recorded: list[int] = field(default_factory=list)
    looked: list[int] = field(default_factory=list)
    number: int = 0

    def run(self, steps: int) -> Loop:
        quiet_until, slept = 0, 0
        for _ in range(steps):
            self.number = number = self.number + 1
            base = self.step + self.noise(number)
            self.plain += base
            records = self.governor.records(number)
            looks = records or self.governor.looks(number)
            if records:
                extra = self.record * EXTRA[LEVELS[self.governor.level]]
                self.recorded.append(number)
                self.looked.append(number)
                self.spent += extra + self.look
                inside = 0.6 * extra
                self.governor.recorded(number, base + 0.8 * (extra + self.look), inside, 0.2 * (extra + self.look))
            elif looks:
                self.looked.append(number)
                self.spent += self.look
                # Of what hooks cost they see themselves the smaller part.
                self.governor.looked(number, base + 0.7 * self.look, 0.4 * self.look, 0.3 * self.look)
            else:
                slept += 1
                if number < quiet_until:
                    continue
                self.governor.passed(number, slept, slept * base)
            slept = 0
            following = number + 1
            seen = self.governor.records(following) or self.governor.looks(following)
            quiet_until = following if seen else self.governor.wake(number)
        return self

    @property
    def price(self) -> float:
        return self.spent / self.plain


@pytest.mark.parametrize("every", [1, 4, 10])
def test_exactly_every_kth_step(every):
    loop = Loop(Governor(None, every), 1e-3, 1e-5, 5e-3).run(100)
    assert loop.recorded == list(range(every, 101, every))
    assert loop.looked == list(range(1, 101))
    assert loop.governor.level == 0


def test_without_a_budget_every_step_is_recorded():
    assert len(Loop(Governor(None, "auto"), 1e-3, 1e-5, 5e-3).run(100).recorded) >= 97


@pytest.mark.parametrize("budget", [0.01, 0.02, 0.1])
@pytest.mark.parametrize(
    ("step", "look", "record"),
    [
        (2e-1, 1e-4, 2e-2),  # a large model
        (2e-2, 1e-4, 1e-2),  # a CNN
        (3e-3, 4e-5, 3e-3),
        (6e-4, 2e-5, 2e-3),  # a small MLP
        (1e-4, 1e-5, 3e-3),  # steps that cost less than looking at them well
    ],
)
def test_the_budget_is_kept(budget, step, look, record):
    governor = Governor(budget, "auto")
    loop = Loop(governor, step, look, record).run(6_000)
    # What is found out in the beginning has a price of its own.
    found_out = loop.spent
    assert loop.price < 2 * budget and len(loop.recorded) >= 3
    loop.spent = loop.plain = 0.0
    assert loop.run(6_000).price < 1.25 * budget
    # A hook that does nothing costs too, whatever the budget.
    assert found_out > 0 and governor.cost.total < 1.25 * budget + 6e-6 / step


def test_cheap_looks_are_never_given_up():
    loop = Loop(Governor(0.02, "auto"), 1e-2, 2e-5, 1e-2).run(2_000)
    assert loop.governor.stride == 1 and loop.looked == list(range(1, 2_001))


def test_looks_that_cost_too_much_are_taken_less_often():
    loop = Loop(Governor(0.02, "auto"), 1e-4, 1e-5, 1e-4).run(4_000)
    assert loop.governor.stride > 1 and len(loop.looked) < 2_000
    assert loop.price < 0.03


def test_looks_that_have_become_cheap_are_taken_at_every_step_again():
    def noise(step: int) -> float:
        return 1e-3 * (step * 0.6180339887 % 1.0)

    loop = Loop(Governor(0.02, "auto"), 1e-2, 1e-3, 5e-3, noise=noise).run(1_000)
    assert loop.governor.stride > 1
    loop.look = 5e-5
    loop.run(2_000)
    assert loop.governor.stride == 1 and loop.governor.cost.looks == pytest.approx(5e-5 / 1e-2, rel=0.3)


def test_after_something_smelt_every_step_is_looked_at():
    loop = Loop(Governor(0.02, "auto"), 1e-4, 1e-5, 1e-4).run(4_000)
    loop.governor.alert(4_000)
    assert all(loop.governor.looks(step) for step in range(4_001, 4_200))


def test_what_is_measured_later_counts():
    at_once = Loop(Governor(0.02, "auto"), 1e-2, 1e-5, 2e-3).run(3_000)

    class Late(Governor):
        def recorded(self, step, took, inside, after):
            super().recorded(step, took - 1e-3, inside, after)
            self.delivered(1, 1e-3)

    later = Loop(Late(0.02, "auto"), 1e-2, 1e-5, 2e-3).run(3_000)
    assert len(later.recorded) == pytest.approx(len(at_once.recorded), rel=0.05)
    assert later.governor.cost.recorded_steps == pytest.approx(at_once.governor.cost.recorded_steps, rel=0.05)


def test_less_is_measured_before_less_often_than_is_useful():
    rich = Loop(Governor(0.02, "auto"), 1e-2, 1e-5, 2e-3).run(3_000)
    assert rich.governor.level == 0 and max(gaps(rich)) <= 60
    poor = Loop(Governor(0.02, "auto"), 1e-3, 1e-6, 4e-3).run(3_000)
    assert poor.governor.level > 0 and gaps(poor)[-1] < 200


def gaps(loop: Loop) -> list[int]:
    return [after - before for before, after in zip(loop.recorded, loop.recorded[1:], strict=False)]


def test_validations_and_hiccups_do_not_count():
    def noise(step: int) -> float:
        return 5.0 if step % 500 == 0 else 0.05 if step % 37 == 0 else 0.0

    calm = Loop(Governor(0.02, "auto"), 5e-3, 3e-5, 5e-3).run(5_000)
    noisy = Loop(Governor(0.02, "auto"), 5e-3, 3e-5, 5e-3, noise=noise).run(5_000)
    assert 0.4 * len(calm.recorded) < len(noisy.recorded) < 2.5 * len(calm.recorded)


def test_a_loop_that_becomes_slower_is_recorded_more_often():
    loop = Loop(Governor(0.02, "auto"), 1e-3, 1e-5, 2e-3).run(3_000)
    before = gaps(loop)[-1]
    loop.step = 5e-2
    assert gaps(loop.run(2_000))[-1] < before / 5


def test_records_so_dear_that_they_look_like_a_validation_are_still_paid_for():
    loop = Loop(Governor(0.02, "auto"), 1e-4, 1e-6, 1e-2).run(20_000)
    assert loop.price < 0.05


def test_the_price_of_a_loop_of_which_every_step_is_recorded():
    loop = Loop(Governor(None, 1), 1e-2, 1e-5, 1e-3).run(50)
    cost = loop.governor.cost
    assert cost.step == pytest.approx(1e-2, rel=0.1) and cost.total == pytest.approx(0.11, rel=0.2)
    assert "recording each step" in str(cost)


def test_a_price_of_which_nothing_is_known():
    assert str(Governor(0.02, "auto").cost) == "Nothing was measured yet."
