from __future__ import annotations

import pytest

from retinaface_cli.training.callbacks.progress import StepTimer, format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (89, "1 min"),
        (3599, "1 h 00 min"),
        (3 * 3600 + 5 * 60, "3 h 05 min"),
        (100_000, "27 h 47 min"),
    ],
)
def test_a_duration_is_written_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_the_time_of_a_step_is_smoothed() -> None:
    timer = StepTimer()
    timer.tick(10.0)
    assert timer.seconds is None
    timer.tick(12.0)
    assert timer.seconds == 2.0
    timer.tick(15.0)
    assert timer.seconds == pytest.approx(0.9 * 2 + 0.1 * 3)


def test_a_validation_between_two_steps_does_not_count() -> None:
    timer = StepTimer()
    timer.tick(0.0)
    timer.tick(1.0)
    timer.pause()
    timer.tick(500.0)
    timer.tick(501.0)
    assert timer.seconds == 1.0
