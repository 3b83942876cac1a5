"""Commands that are killed at random moments: what is done stays, and they go on from there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from retinaface_cli.data.video import VideoWriter
from retinaface_cli.files.manifest import FOLDER
from tests.commands.training_runs import SMALL, read_last, write_data
from tests.conftest import REPOSITORY
from tests.detection.test_detector import noise, write_random_weights
from tests.fuzz.mutation import contents

pytestmark = pytest.mark.slow

NUM_IMAGES = 150
NUM_KILLED = {"infer": 30, "convert-labels": 20, "train": 10}


def start(arguments: Sequence[object], **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "retinaface_cli", *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def run(arguments: Sequence[object]) -> float:
    """Runs a command to its end; the seconds that it took."""
    started = time.monotonic()
    process = start(arguments)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return time.monotonic() - started


def wait_for(is_there: Callable[[], bool], process: subprocess.Popen[str], *, seconds: float = 120) -> bool:
    """Waits until something is there; False where the process ends first."""
    deadline = time.monotonic() + seconds
    while not is_there():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return True


def kill_at_random(
    arguments: Sequence[object], chance: random.Random, *, is_working: Callable[[], bool], seconds: tuple[float, float]
) -> bool:
    """Starts a command and kills it; every other time while it works. Whether it was still running.

    Args:
        arguments: the command.
        chance: decides on the moment.
        is_working: whether the first results are there.
        seconds: about how long the whole command takes, and its work alone.
    """
    process = start(arguments)
    whole, work = seconds
    if chance.random() < 0.3:
        time.sleep(chance.uniform(0, whole))
    elif wait_for(is_working, process):
        time.sleep(chance.uniform(0, work))
    is_running = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL) if is_running else None
    _, errors = process.communicate(timeout=60)
    assert is_running or process.returncode == 0, errors
    return is_running


@pytest.fixture
def infer_arguments(tmp_path: Path) -> list[object]:
    """`infer` of images and a video with drawings and crops, but for its output folder."""
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(NUM_IMAGES):
        assert cv2.imwrite(str(folder / f"{index:03d}.jpg"), noise(120, 160, seed=index))
    with VideoWriter(folder / "clip.mp4", frame_rate=10) as video:
        for index in range(12):
            video.write(noise(96, 128, seed=index))
    weights = write_random_weights(tmp_path / "w.safetensors")
    fixed = ["-w", weights, "--accelerator", "cpu", "--backend", "torch", "--precision", "32", "-m", "original"]
    return ["infer", folder, *fixed, "--no-rescore", "--visualize", "--crops", "aligned", "--keep-top-k", "3"]


def results(output: Path) -> dict[str, str]:
    """What an output folder holds, but for its manifest, whose order is that of time."""
    found = contents(output)
    assert not [name for name in found if name.startswith(f"{FOLDER}/tmp/")]
    return {name: content for name, content in found.items() if not name.startswith(FOLDER)}


def test_infer_that_is_killed_again_and_again_ends_as_an_unbroken_run(
    tmp_path: Path, infer_arguments: list[object]
) -> None:
    started = time.monotonic()
    process = start([*infer_arguments, "-o", tmp_path / "whole"])
    assert wait_for(lambda: any(tmp_path.glob("whole/labels/*.json")), process)
    first = time.monotonic()
    assert process.wait(timeout=300) == 0
    seconds = (time.monotonic() - started, time.monotonic() - first)
    process.communicate()
    expected = results(tmp_path / "whole")
    assert len([name for name in expected if name.startswith("labels/")]) == NUM_IMAGES + 13

    chance = random.Random(16)
    num_killed = num_finished = 0
    while num_killed < NUM_KILLED["infer"]:
        output = tmp_path / f"out{num_finished}"
        before = len(list(output.glob("labels/*.json")))
        arguments = [*infer_arguments, "-o", output, "--resume"]
        has_more = lambda: len(list(output.glob("labels/*.json"))) > before  # noqa: B023, E731
        part = seconds[1] * chance.choice((0.05, 0.2))
        if kill_at_random(arguments, chance, is_working=has_more, seconds=(seconds[0], part)):
            num_killed += 1
        else:
            assert results(output) == expected
            num_finished += 1
    run([*infer_arguments, "-o", output, "--resume"])
    assert results(output) == expected
    assert not (output / FOLDER / "tmp").exists() or not any((output / FOLDER / "tmp").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("out")) == [
        "in",
        "w.safetensors",
        "whole",
    ]


def write_many_labels(path: Path) -> Path:
    """20,000 faces in 4,000 images."""
    boxes = np.random.default_rng(0).uniform(0, 200, (4000, 5, 4)).round(2)
    boxes[..., 2:] += boxes[..., :2] + 8
    entries = [
        {"file_name": f"{index:05d}.jpg", "width": 640, "height": 640, "annotations": faces}
        for index, faces in enumerate([[{"bbox": box, "landmarks": []} for box in image] for image in boxes.tolist()])
    ]
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize("target", ["out.json", "yolo"])
def test_convert_labels_that_is_killed_leaves_all_or_nothing(tmp_path: Path, target: str) -> None:
    source = write_many_labels(tmp_path / "labels.json")
    folder = tmp_path / "out"
    folder.mkdir()
    options: list[object] = ["--to", "yolo"] if target == "yolo" else ["--stats", folder / "stats.json"]
    arguments = ["convert-labels", source, folder / target, *options]
    seconds = run(arguments)
    expected = contents(folder)
    chance = random.Random(target)
    num_killed = 0
    while num_killed < NUM_KILLED["convert-labels"] // 2:
        arguments_now = [*arguments, "--force"]
        moment = (seconds, seconds / 4)
        is_writing = lambda: any(".retinaface-tmp" in path.name for path in folder.iterdir())  # noqa: E731
        num_killed += kill_at_random(arguments_now, chance, is_working=is_writing, seconds=moment)
        left = {name: content for name, content in contents(folder).items() if ".retinaface-tmp" not in name}
        assert left == expected or (target == "yolo" and not left)  # between the two renames
    run([*arguments, "--force"])
    assert contents(folder) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.json", "out"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell whether a folder is in use")
def test_train_that_is_killed_before_its_first_checkpoint_is_begun_again_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    changes = {**SMALL, "data.num_workers": 2}
    values = [f"--set={key}={json.dumps(value)}" for key, value in changes.items()]
    run(["train", config, *values, "-o", "whole"])
    for name in ("out", "out/config.yaml", "out/report.json", "out/metrics.csv"):
        path, began = tmp_path / name, time.time_ns()
        process = start(["train", config, *values, "-o", "out"])
        is_new = lambda: path.exists() and path.stat().st_mtime_ns > began  # noqa: B023, E731
        assert wait_for(is_new, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "out/checkpoints/last.ckpt").exists()
    run(["train", config, *values, "-o", "out"])
    expected, found = (read_last(tmp_path / name)["state_dict"] for name in ("whole", "out"))
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    names = {path.relative_to(tmp_path / "whole").as_posix() for path in (tmp_path / "whole").rglob("*")}
    assert {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")} == names


def test_train_that_is_killed_again_and_again_ends_as_an_unbroken_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    changes = {**SMALL, "trainer.max_epochs": 12, "checkpoint.every_n_steps": 1}
    values = [f"--set={key}={json.dumps(value)}" for key, value in changes.items()]
    seconds = run(["train", config, *values, "-o", "whole"])
    expected = read_last(tmp_path / "whole")

    last = tmp_path / "out/checkpoints/last.ckpt"
    chance = random.Random(16)
    process = start(["train", config, *values, "-o", "out"])
    assert wait_for(last.exists, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    num_killed = 1
    while num_killed < NUM_KILLED["train"]:
        saved = last.stat().st_mtime_ns
        goes_on = lambda: last.stat().st_mtime_ns > saved  # noqa: B023, E731
        arguments = ["train", "--resume", "out"]
        if not kill_at_random(arguments, chance, is_working=goes_on, seconds=(seconds / 2, 0.3)):
            break
        num_killed += 1
    run(["train", "--resume", "out"])
    found = read_last(tmp_path / "out")
    assert num_killed == NUM_KILLED["train"]
    for name, value in expected["state_dict"].items():
        assert torch.equal(found["state_dict"][name], value), name
    names = {path.relative_to(tmp_path / "whole").as_posix() for path in (tmp_path / "whole").rglob("*")}
    assert {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")} == names
    assert (tmp_path / "out/best.safetensors").read_bytes() == (tmp_path / "whole/best.safetensors").read_bytes()


def second_process(process: subprocess.Popen[str]) -> int:
    """The process that the first one has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return next(int(child) for child in children if "retinaface_cli" in Path(f"/proc/{child}/cmdline").read_text())


@pytest.mark.parametrize(
    ("target", "signum", "status"),
    [
        ("group", signal.SIGTERM, 143),
        ("group", signal.SIGINT, 130),
        ("first", signal.SIGTERM, 143),
        ("first", signal.SIGKILL, -9),
        ("second", signal.SIGKILL, 1),
    ],
)
def test_two_processes_of_infer_end_together_within_seconds_and_can_be_resumed(
    tmp_path: Path, infer_arguments: list[object], target: str, signum: signal.Signals, status: int
) -> None:
    run([*infer_arguments, "-o", tmp_path / "whole"])
    arguments = [*infer_arguments, "-o", tmp_path / "out"]
    process = start([*arguments, "--devices", "2"])
    assert wait_for(lambda: len(list(tmp_path.glob("out/labels/*.json"))) > 4, process)
    second = second_process(process)
    os.killpg(process.pid, signum) if target == "group" else os.kill(
        process.pid if target == "first" else second, signum
    )
    stopped = time.monotonic()
    _, errors = process.communicate(timeout=60)  # ends when the last process has closed it
    assert time.monotonic() - stopped < 20
    assert process.returncode == status
    assert "Traceback" not in errors
    if signum == signal.SIGKILL:
        assert "error: another process" in errors
    assert len(list(tmp_path.glob("out/labels/*.json"))) < NUM_IMAGES
    run([*arguments, "--resume"])
    assert results(tmp_path / "out") == results(tmp_path / "whole")
