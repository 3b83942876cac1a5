"""Work beside the main process."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from retinaface_cli.commands.evaluate import process as evaluate_process
from retinaface_cli.commands.evaluate.process import SideTask
from retinaface_cli.errors import LabelFormatError


@pytest.fixture(params=["beside", "here"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways: torch may be loaded in this process, so the check is taken out."""
    is_beside = request.param == "beside" and sys.platform == "linux"
    monkeypatch.setattr(evaluate_process, "_can_fork", lambda: is_beside)
    return str(request.param)


def test_the_value_comes_back(place: str) -> None:
    task = SideTask(os.getpid)
    assert (task.result() == os.getpid()) == (place == "here")


@pytest.mark.usefixtures("place")
def test_an_error_comes_back() -> None:
    def fail() -> None:
        raise LabelFormatError("x.txt:1: wrong")

    with pytest.raises(LabelFormatError, match=r"x\.txt:1: wrong"):
        SideTask(fail).result()


def test_a_process_that_is_killed_is_made_up_for() -> None:
    parent = os.getpid()

    def die_or_answer() -> str:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return "done here"

    assert SideTask(die_or_answer).result() == "done here"
