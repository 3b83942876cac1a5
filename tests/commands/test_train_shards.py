"""`train` on images in tar shards: as on the same images as files, step by step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from retinaface_cli.errors import ImageReadError
from retinaface_cli.training.callbacks import images as image_reports
from tests.commands.test_train import Interruption, KilledError, kill
from tests.commands.training_runs import NUM_STEPS, SMALL, read_last, read_report, train_small, write_data
from tests.conftest import REPOSITORY
from tests.data.test_shards import write_tar
from tests.golden.golden import retinaface


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Configs of the same images as files, and in three shards in a place of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(image_reports, "draw_curves", lambda *_, **__: None)
    monkeypatch.setattr(image_reports.ImageReports, "_send", lambda *_: None)
    files = write_data(tmp_path / "faces")
    images = sorted((tmp_path / "faces" / "images").iterdir())
    for number in range(3):
        write_tar(tmp_path / f"tars/{number:06d}.tar", {path.name: path.read_bytes() for path in images[number::3]})
    (tmp_path / "labels.json").write_bytes((tmp_path / "faces" / "labels.json").read_bytes())
    source = "[{labels: labels.json, shards: 'tars/{000000..000002}.tar'}]"
    shards = tmp_path / "shards.yaml"
    shards.write_text(f"data: {{train: {source}, validation: {source}}}\n")
    return files, shards


def assert_same(first: Path, second: Path) -> None:
    """Two runs have the same weights bit for bit, and wrote the same figures."""
    a, b = read_last(first), read_last(second)
    assert a["global_step"] == b["global_step"] > 0
    assert all(torch.equal(a["state_dict"][name], b["state_dict"][name]) for name in a["state_dict"])
    assert read_report(first)["data_fingerprint"] == read_report(second)["data_fingerprint"]
    assert (first / "metrics.csv").read_text() == (second / "metrics.csv").read_text()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_from_shards_takes_the_same_steps_as_from_files(configs: tuple[Path, Path], num_workers: int) -> None:
    files, shards = configs
    train_small(files, output="files", **{"trainer.max_epochs": 1})
    train_small(shards, output="shards", changes={"data.num_workers": num_workers, "trainer.max_epochs": 1})
    assert_same(Path("files"), Path("shards"))


def test_a_killed_training_from_shards_goes_on_bit_equally(
    configs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    files, shards = configs
    train_small(files, output="files")
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        Interruption(patch, NUM_STEPS + 1, kill)
        train_small(shards, output="shards", changes={"checkpoint.every_n_steps": 1})
    assert read_last(Path("shards"))["global_step"] == NUM_STEPS + 1
    train_small(None, resume="shards")
    assert_same(Path("files"), Path("shards"))


def test_a_run_on_shards_is_evaluated_on_them(configs: tuple[Path, Path]) -> None:
    files, shards = configs
    train_small(shards, output="run", changes={"trainer.max_epochs": 1})
    evaluate = ("evaluate", "run", "--worst", "3")
    assert retinaface(*evaluate, "-o", "in_shards") == 0
    labels = ("--labels", str(files.parent / "labels.json"), "--images", str(files.parent / "images"))
    assert retinaface(*evaluate, "-o", "in_files", *labels, "--scale", "64") == 0
    first, second = (json.loads(Path(name, "report.json").read_bytes()) for name in ("in_shards", "in_files"))
    assert all(first[name] == second[name] for name in ("wider", "coco", "ap50", "landmarks", "groups"))
    assert Path("in_shards/worst.jpg").is_file()


def test_a_shard_that_breaks_off_stops_the_training_before_it_starts(configs: tuple[Path, Path]) -> None:
    path = Path("tars/000001.tar")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(
        ImageReadError, match=r"1\.png: lies in none of the 3 shards, .*000001\.tar: the shard breaks of"
    ):
        train_small(configs[1])
    assert not Path("runs").exists()


@pytest.mark.slow
def test_two_processes_train_from_shards_as_from_files(configs: tuple[Path, Path]) -> None:
    values = [f"--set={key}={json.dumps(value)}" for key, value in {**SMALL, "trainer.max_epochs": 1}.items()]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    for name, config in zip(("files", "shards"), configs, strict=True):
        command = [sys.executable, "-m", "retinaface_cli", "train", str(config), *values]
        command += ["--devices", "2", "--output", name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
    assert_same(Path("files"), Path("shards"))
