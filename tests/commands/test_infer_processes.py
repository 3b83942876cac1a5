"""`infer` in several processes: each image once, whatever ends some of them."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.commands.test_infer import command, environment
from tests.data.test_shards import write_tar
from tests.detection.test_detector import noise, write_random_weights

NUM_SHARDS, NUM_IMAGES = 12, 12
LARGE = ("--max-size", "640")
"""Makes a run take long enough to be killed in its middle."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_weights(tmp_path_factory.mktemp("weights") / "w.safetensors")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for number in range(NUM_SHARDS):
        members = {
            f"{index:03d}.png": cv2.imencode(".png", noise(160, 192, seed=100 * number + index))[1].tobytes()
            for index in range(NUM_IMAGES)
        }
        write_tar(folder / f"{number:03d}.tar", members)
    return folder


def rows_of(output: Path) -> dict[str, list[Any]]:
    parts = sorted((output / "parts").glob("part-*.jsonl.gz"))
    return {path.name: [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()] for path in parts}


def start(inputs: Path, weights: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    """A run in a group of processes of its own."""
    words = command(inputs, weights, output, "--save", "parts", "--precision", "32", "--backend", "torch", *options)
    return subprocess.Popen(
        words, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )


def run_to_end(inputs: Path, weights: Path, output: Path, *options: str) -> str:
    process = start(inputs, weights, output, *options)
    _, printed = process.communicate(timeout=300)
    is_clean = "\nerror: " not in f"\n{printed}"  # nor what those print that it has started
    assert process.returncode == 0 and is_clean, printed
    return printed


def wait_for_parts(output: Path, number: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while len(list((output / "parts").glob("part-*"))) < number:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children_of(process: subprocess.Popen[str]) -> list[int]:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(word) for word in text.split()]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, shards: Path, weights: Path) -> dict[str, list[Any]]:
    """The rows of a run of one process."""
    output = tmp_path_factory.mktemp("unbroken") / "out"
    run_to_end(shards, weights, output, *LARGE)
    rows = rows_of(output)
    assert [len(part) for part in rows.values()] == [NUM_IMAGES] * NUM_SHARDS
    return rows


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_a_killed_process_ends_the_others_with_a_message_and_the_run_goes_on(
    tmp_path: Path, shards: Path, weights: Path, unbroken: dict[str, list[Any]]
) -> None:
    output = tmp_path / "out"
    process = start(shards, weights, output, "--devices", "2", *LARGE)
    wait_for_parts(output, 2, process)
    (child,) = (pid for pid in children_of(process) if b"infer" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(child, signal.SIGKILL)
    killed_at = time.monotonic()
    _, printed = process.communicate(timeout=120)
    assert time.monotonic() - killed_at < 60
    assert process.returncode == 1
    assert "error: another process" in printed
    assert all(unbroken[name] == rows for name, rows in rows_of(output).items())
    printed = run_to_end(shards, weights, output, "--resume", "--devices", "3", *LARGE)
    assert rows_of(output) == unbroken


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 3])
def test_ten_kills_at_random_moments_lose_and_double_nothing(
    tmp_path: Path, shards: Path, weights: Path, unbroken: dict[str, list[Any]], num_processes: int
) -> None:
    output = tmp_path / "out"
    chance = random.Random(num_processes)
    num_killed = 0
    for _ in range(10):
        process = start(shards, weights, output, "--resume", "--devices", "2", *LARGE)
        deadline = time.monotonic() + 120
        while not list((output / ".retinaface").glob("work/*/part-*")):  # begins to work
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 1))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        num_killed += process.returncode == -signal.SIGKILL
        assert all(unbroken[name] == part for name, part in rows_of(output).items())
    assert num_killed > 5  # the work may have been done before
    run_to_end(shards, weights, output, "--resume", "--devices", str(num_processes), *LARGE)
    assert rows_of(output) == unbroken


def test_two_processes_share_the_parts_and_all_failures_are_listed(tmp_path: Path, shards: Path, weights: Path) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    for number in range(3):
        (inputs / f"{number}.tar").symlink_to(shards / f"{number:03d}.tar")
    (inputs / "3.tar").write_bytes((shards / "003.tar").read_bytes()[:60_000])
    printed = run_to_end(inputs, weights, tmp_path / "out", "--devices", "2")
    rows = rows_of(tmp_path / "out")
    assert [len(part) for part in rows.values()][:3] == [NUM_IMAGES] * 3
    assert f"{sum(map(len, rows.values()))} images" in printed
    (error,) = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert error["file_name"] == "3.tar"
    assert "1 could not be read" in printed
    assert not list((tmp_path / "out" / ".retinaface").glob("work/*/part-*"))
