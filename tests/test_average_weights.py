"""The script that averages two detectors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from retinaface_cli.model.checkpoints import load_weights, save_weights
from tests.conftest import REPOSITORY
from tests.engine.test_detector import write_random_weights


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / "examples" / "average_weights.py"
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_average_lies_between_the_two_and_says_what_it_is_made_of(tmp_path: Path) -> None:
    start = load_weights(write_random_weights(tmp_path / "start.safetensors"))
    moved = {name: tensor + 1 for name, tensor in start.state.items() if tensor.is_floating_point()}
    save_weights(tmp_path / "trained.safetensors", moved, network=start.network, training={"epochs": 3})
    output = tmp_path / "average.safetensors"
    done = run(start.path, tmp_path / "trained.safetensors", "--share", "0.25", "-o", output)
    assert done.returncode == 0, done.stderr
    average = load_weights(output)
    for name, tensor in moved.items():
        torch.testing.assert_close(average.state[name], tensor - 0.75)
    assert average.network == start.network
    assert average.training["average"] == {"start.safetensors": 0.75, "trained.safetensors": 0.25}
    assert average.training["trained"]["epochs"] == 3


@pytest.mark.parametrize("share", ["-0.1", "1.5"])
def test_shares_beyond_0_and_1_are_refused(tmp_path: Path, share: str) -> None:
    done = run("a", "b", "-o", tmp_path / "c.safetensors", f"--share={share}")
    assert done.returncode == 2
    assert "expected a number from 0 to 1" in done.stderr


def test_unlike_networks_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    start = write_random_weights(tmp_path / "start.safetensors")
    other = write_random_weights(tmp_path / "other.safetensors", preprocessing="imagenet-rgb")
    done = run(start, other, "-o", tmp_path / "average.safetensors")
    assert done.returncode == 1
    assert "not of the same network" in done.stderr
    assert not (tmp_path / "average.safetensors").exists()
