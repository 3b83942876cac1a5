from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from retinaface_cli.commands.train.options import starter_config
from retinaface_cli.commands.train.start import build_start
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.detection.weights import resolve_weights
from retinaface_cli.errors import CheckpointError, LabelFormatError, RetinaFaceError, SettingsError
from retinaface_cli.model.checkpoints.loading import load_weights, save_weights
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.settings.base import load_settings, validate_settings
from retinaface_cli.settings.network import PreprocessingSettings
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.training.callbacks import images as image_reports
from retinaface_cli.training.module import FaceTrainingModule
from retinaface_cli.training.run_folder import RunFolder
from tests.commands.training_runs import NUM_STEPS, SMALL, read_last, read_report, train_small, write_data
from tests.conftest import REPOSITORY
from tests.golden.golden import retinaface
from tests.training.training_making import painted_image

SHORT = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 1}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config in an otherwise empty working folder; curves, which take long to draw, are left out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(image_reports, "draw_curves", lambda *_, **__: None)
    monkeypatch.setattr(image_reports.ImageReports, "_send", lambda *_: None)
    return write_data(tmp_path / "faces")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train_small(write_data(folder / "faces"))
    return folder / "runs" / "train" / "small"


class Interruption:
    """Does something in the training step number `step`, counted from 0 over the whole run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int, action: Any) -> None:
        original = FaceTrainingModule.training_step

        def training_step(module: FaceTrainingModule, batch: Any, batch_idx: int) -> torch.Tensor:
            loss: torch.Tensor = original(module, batch, batch_idx)
            if module.trainer.global_step == step:
                action()
            return loss

        monkeypatch.setattr(FaceTrainingModule, "training_step", training_step)


class KilledError(BaseException):
    """Stands for kill -9: nothing of ours gets to know of it."""


def kill() -> None:
    """Ends the training without any tidying up."""
    raise KilledError


def same_weights(first: Path, second: Path) -> bool:
    """Whether the last checkpoints of two runs have the same bits."""
    a, b = read_last(first)["state_dict"], read_last(second)["state_dict"]
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_everything_in_its_folder(whole: Path) -> None:
    assert sorted(path.name for path in whole.rglob("*") if path.is_file()) == [
        "best.ckpt",
        "best.safetensors",
        "config.yaml",
        "curves.png",
        "last.ckpt",
        "metrics.csv",
        "report.json",
        "train_batch.jpg",
        "val_predictions.jpg",
    ]
    settings = load_settings(TrainSettings, whole / "config.yaml")
    assert settings.data.batch_size == 2 and settings.experiment_name == "small"
    report = read_report(whole)
    assert report["status"] == "finished"
    assert report["seed"] == 1984 and len(report["data_fingerprint"]) == 16
    assert report["versions"]["torch"] == torch.__version__
    assert report["best"]["epoch"] in (1, 2) and 0 <= report["best"]["score"] <= 1


def test_a_run_tells_what_it_does(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_small(config, changes={"trainer.max_epochs": 1})
    output = capsys.readouterr().out
    assert "labels.json (json): 6 images, 1 of them without faces; 8 faces" in output
    assert "3 batches an epoch, 2 images a step; lr 0.001" in output
    assert "epoch 1/1: loss" in output
    assert "/images/0.png -w runs/train/small/best.safetensors" in output.replace("\n", "")
    with Path("runs/train/small/metrics.csv").open() as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file) if row["lr"]]
    assert f"lr {rates[-1]:.2g}  ap50" in output  # that of the last step, not of one behind it


def test_a_run_ends_with_its_best_epoch_its_weights_and_a_command_to_try_them(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_small(config)
    best, weights, command = capsys.readouterr().out.splitlines()[-3:]
    assert best.startswith("best epoch ")
    assert weights.startswith("weights: runs/train/small/best.safetensors; beside them curves.png and report.json")
    assert retinaface(*shlex.split(command.removeprefix("try them: retinaface "))) == 0
    assert len(list(Path("runs/infer/1/viz").rglob("*.jpg"))) == 1


def test_metrics_has_a_line_a_step_with_losses_rate_and_scores(whole: Path) -> None:
    with (whole / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(2 * NUM_STEPS))
    assert [int(row["epoch"]) for row in rows] == [0] * NUM_STEPS + [1] * NUM_STEPS
    weights = {"train/box_loss": 2, "train/classification_loss": 1, "train/landmark_loss": 1}
    for row in rows:
        weighted = sum(float(row[name]) * weight for name, weight in weights.items())
        assert float(row["train/loss"]) == pytest.approx(weighted, rel=1e-4)
    assert [bool(row["val/ap50"]) for row in rows] == [False, False, True] * 2
    rates = [float(row["lr"]) for row in rows]
    assert rates[0] < rates[1] < rates[2]  # one epoch of warm-up


def test_the_weights_are_ready_for_detection_without_a_config(whole: Path) -> None:
    best = load_weights(whole / "best.safetensors")
    last = load_weights(whole / "checkpoints" / "last.ckpt")
    assert best.network == last.network == load_settings(TrainSettings, whole / "config.yaml").network
    assert best.training["epoch"] in (1, 2) and best.training["scores"]["val/ap50"] >= 0
    averaged = read_last(whole)["state_dict"]["average.class_heads.0.weight"]
    assert torch.equal(last.state["class_heads.0.weight"], averaged)
    faces = FaceDetector(last, device="cpu").detect(painted_image(0)[0])
    assert faces.boxes.shape == (len(faces), 4)


@pytest.mark.parametrize("step", [4, pytest.param(NUM_STEPS, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_bit_equally(
    whole: Path, config: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    changes = {"checkpoint.every_n_steps": 1}
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        Interruption(patch, step, kill)
        train_small(config, output="broken", changes=changes)
    assert read_last(Path("broken"))["global_step"] == step
    train_small(None, resume="broken")
    assert Path("broken/metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    assert same_weights(whole, Path("broken"))
    assert read_report(Path("broken"))["status"] == "finished"


@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, *(pytest.param(s, marks=pytest.mark.slow) for s in (signal.SIGINT, signal.SIGUSR1))]
)
def test_a_signal_saves_and_stops_and_the_run_goes_on_bit_equally(
    whole: Path,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signum: signal.Signals,
) -> None:
    before = signal.getsignal(signum)
    with monkeypatch.context() as patch:
        Interruption(patch, 3, lambda: os.kill(os.getpid(), signum))
        with pytest.raises(SystemExit) as ended:
            train_small(config, output="stopped")
    assert ended.value.code == 128 + signum
    assert (
        f"stopped by {signum.name} after step 4; go on with: retinaface train --resume stopped"
        in capsys.readouterr().out
    )
    assert read_report(Path("stopped"))["status"] == "interrupted"
    assert signal.getsignal(signum) is before
    train_small(config, resume="last", output="stopped")
    assert Path("stopped/metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    assert same_weights(whole, Path("stopped"))


def test_a_signal_in_the_last_step_of_an_epoch_waits_for_its_validation(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Interruption(patch, NUM_STEPS - 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit):
            train_small(config)
    folder = Path("runs/train/small")
    assert read_last(folder)["global_step"] == NUM_STEPS
    assert "val/ap50" in (folder / "metrics.csv").read_text()
    assert read_report(folder)["status"] == "interrupted"


@pytest.mark.usefixtures("config")
def test_a_finished_run_can_be_lengthened(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(whole, "runs/train/small")
    train_small(None, resume="last", **{"trainer.max_epochs": 3})
    assert "changed since: trainer.max_epochs: 2 -> 3" in capsys.readouterr().out
    assert read_last(Path("runs/train/small"))["global_step"] == 3 * NUM_STEPS


def test_a_second_run_of_the_same_name_gets_a_folder_of_its_own(config: Path) -> None:
    Path("runs/train/small").mkdir(parents=True)
    changes = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 1, "trainer.limit_val_batches": 0}
    train_small(config, changes=changes)
    assert Path("runs/train/small-2/report.json").is_file()
    assert not list(Path("runs/train/small").iterdir())


def test_a_named_output_that_holds_a_run_is_refused(config: Path) -> None:
    Path("mine").mkdir()
    Path("mine/report.json").write_text("{}")
    with pytest.raises(
        SettingsError, match=r"mine: holds files already, but no checkpoint to go on from; name another"
    ):
        train_small(config, output="mine")
    Path("mine/checkpoints").mkdir()
    Path("mine/checkpoints/last.ckpt").touch()
    with pytest.raises(SettingsError, match=r"mine: holds files already; go on with that run by --resume last"):
        train_small(config, output="mine")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell whether a folder is in use")
def test_a_run_killed_before_its_first_checkpoint_is_begun_again_by_the_same_command(
    whole: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        Interruption(patch, 1, kill)
        train_small(config, output="again")
    assert Path("again/metrics.csv").is_file() and not Path("again/checkpoints/last.ckpt").exists()
    train_small(config, output="again")
    assert "again, begun again: the run before ended before its first checkpoint" in capsys.readouterr().out
    assert Path("again/metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    assert same_weights(whole, Path("again"))


def test_a_loss_that_is_not_finite_names_the_images_and_keeps_the_last_good_checkpoint(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FaceTrainingModule.forward

    def forward(module: FaceTrainingModule, images: torch.Tensor) -> HeadOutputs:
        factor = float("nan") if module.trainer.global_step == 4 else 1.0
        return HeadOutputs(*(output * factor for output in original(module, images)))

    monkeypatch.setattr(FaceTrainingModule, "forward", forward)
    with pytest.raises(
        RetinaFaceError, match=r"the loss became nan at step 5, in the batch of \d\.png, \d\.png"
    ) as caught:
        train_small(config)
    assert "runs/train/small/checkpoints/last.ckpt" in str(caught.value) and "optimizer.lr" in str(caught.value)
    checkpoint = read_last(Path("runs/train/small"))
    assert checkpoint["global_step"] == NUM_STEPS
    assert all(bool(value.isfinite().all()) for value in checkpoint["state_dict"].values())
    assert read_report(Path("runs/train/small"))["status"] == "failed"


def test_a_program_may_train_in_another_thread_than_the_main_one(config: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(train_small, config, changes=SHORT).result()
    assert RunFolder(Path("runs/train/small")).best_weights.is_file()


def test_training_stops_early_when_the_score_does_not_rise(config: Path) -> None:
    changes = {"early_stopping.patience": 1, "early_stopping.min_delta": 1.1, "trainer.max_epochs": 9}
    train_small(config, changes=changes)
    report = read_report(Path("runs/train/small"))
    assert report["status"] == "stopped early"
    assert read_last(Path("runs/train/small"))["global_step"] == 2 * NUM_STEPS


def test_without_validation_the_last_epoch_is_the_best(config: Path) -> None:
    train_small(config, changes={"data.validation": [], "data.held_out": 0})
    report = read_report(Path("runs/train/small"))
    assert report["best"] == {"epoch": 2, "score": None}
    assert load_weights(Path("runs/train/small/best.safetensors")).training["step"] == 2 * NUM_STEPS


@pytest.mark.shared
def test_a_figure_that_is_not_measured_cannot_be_monitored(config: Path, shared: Path) -> None:
    ground_truth = shared / "data" / "wider_dev" / "ground_truth"  # knows none of the painted images
    changes = {"checkpoint.monitor": "val/wider_hard", "validation.wider_ground_truth": str(ground_truth)}
    with pytest.raises(SettingsError, match=r"checkpoint\.monitor: got val/wider_hard, .*; known: val/ap50"):
        train_small(config, changes=changes)


def test_early_stopping_needs_a_validation(config: Path) -> None:
    with pytest.raises(SettingsError, match=r"early_stopping\.patience: no validation with faces to judge by"):
        train_small(config, changes={"early_stopping.patience": 2, "data.validation": [], "data.held_out": 0})
    assert not Path("runs").exists()


def test_epochs_are_kept_where_the_settings_ask_for_it(config: Path) -> None:
    train_small(config, changes={"checkpoint.keep_every_n_epochs": 1})
    names = {path.name for path in Path("runs/train/small/checkpoints").iterdir()}
    assert names == {"last.ckpt", "best.ckpt", "epoch-0001.ckpt", "epoch-0002.ckpt"}


def test_fine_tuning_takes_the_network_from_the_checkpoint(
    config: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = load_weights(whole / "best.safetensors")
    preprocessing = PreprocessingSettings(color_order="bgr", mean=(1, 2, 3), std=(4, 5, 6))
    network = other.network.model_copy(update={"preprocessing": preprocessing})
    save_weights(Path("other.safetensors"), other.state, network=network, training={})
    train_small(config, weights="other.safetensors", changes=SHORT)
    assert "300 of 300 weights from other.safetensors (retinaface-cli)" in capsys.readouterr().out
    assert load_weights(Path("runs/train/small/best.safetensors")).network == network


def test_fine_tuning_with_more_anchors_starts_the_heads_anew(
    config: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anchors = {"sizes": [[8, 16, 32], [48, 64, 128], [192, 256, 512]]}
    train_small(config, weights=str(whole / "best.safetensors"), changes={"network.anchors": anchors, **SHORT})
    output = capsys.readouterr().out
    assert "282 of 300 weights from" in output  # nine heads with weight and bias
    assert "start anew, because their shapes differ: class_heads.0, class_heads.1, class_heads.2" in output
    assert "anchors differ" in output
    assert load_weights(Path("runs/train/small/best.safetensors")).network.anchors.nums_per_cell == (3, 3, 3)


def test_fine_tuning_another_backbone_is_refused(config: Path, whole: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has the backbone mobilenet0\.25, but network\.backbone is resnet18"):
        train_small(config, weights=str(whole / "best.safetensors"), changes={"network.backbone": "resnet18"})


def test_a_fast_dev_run_writes_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_small(config, **{"trainer.fast_dev_run": True})
    assert not Path("runs").exists()
    assert "nothing is written" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"trainer.max_epoch": 3}, SettingsError, r"trainer\.max_epoch: unknown setting; did you mean max_epochs\?"),
        ({"data.train": [{"labels": "no.json"}]}, RetinaFaceError, r"no\.json"),
        ({"trainer.accelerator": "gpu"}, SettingsError, r"there is no GPU .*--accelerator cpu"),
        ({"trainer.precision": "16"}, SettingsError, r"16 needs a GPU; on the CPU take 32 or bf16"),
        ({"backbone_weights": "no.tar"}, CheckpointError, r"no\.tar: cannot be read \(No such file"),
        ({"weights": "no.ckpt"}, CheckpointError, r"no\.ckpt: no such file"),
        ({"augmentation.extra": [{"name": "CLAHEE"}]}, SettingsError, r"CLAHEE"),
        ({"validation.wider_ground_truth": "no"}, RetinaFaceError, r"no"),
    ],
)
def test_what_is_wrong_shows_before_anything_is_written(
    config: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    if torch.cuda.is_available() and "trainer" in next(iter(changes)):
        pytest.skip("there is a GPU")
    with pytest.raises(error, match=message):
        train_small(config, changes=changes)
    assert not Path("runs").exists()


def test_a_missing_image_shows_before_anything_is_written(config: Path) -> None:
    (config.parent / "images" / "3.png").unlink()
    with pytest.raises(RetinaFaceError, match=r"1 of 6 images cannot be read: .*3\.png"):
        train_small(config)
    assert not Path("runs").exists()


def test_unreadable_labels_show_before_anything_is_written(config: Path) -> None:
    (config.parent / "labels.json").write_text("[{]")
    with pytest.raises(LabelFormatError, match=r"labels\.json"):
        train_small(config)
    assert not Path("runs").exists()


def test_weights_are_no_training_to_go_on_with(whole: Path) -> None:
    with pytest.raises(CheckpointError, match=r"carries no settings of a training"):
        train_small(None, resume=str(whole / "best.safetensors"))


def test_no_checkpoint_is_half_written_when_the_disk_refuses(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        Interruption(patch, 4, lambda: patch.setattr("torch.save", refuse))
        train_small(config, changes={"checkpoint.every_n_steps": 1})
    folder = RunFolder(Path("runs/train/small")).checkpoints
    assert read_last(folder.parent)["global_step"] == 4
    assert {path.name for path in folder.iterdir()} == {"last.ckpt", "best.ckpt"}


@pytest.mark.slow
def test_two_processes_write_one_run_and_survive_a_signal_together(config: Path) -> None:
    source = f"[{{labels: {config.parent}/labels.json, images: {config.parent}/images, weight: 12}}]"
    values = [f"--set={key}={json.dumps(value)}" for key, value in {**SMALL, "data.batch_size": 1}.items()]
    values += [f"--set=data.train={source}", "--set=checkpoint.every_n_steps=8"]
    command = [sys.executable, "-m", "retinaface_cli", "train", str(config), *values, "--devices", "2"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "epoch 1/2, step" not in (line := process.stdout.readline()):
        assert line, "ended before the first step"
    process.terminate()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "stopped by SIGTERM after step 8" in output
    folder = Path("runs/train/small")
    assert [path.name for path in folder.parent.iterdir()] == ["small"]
    assert read_last(folder)["global_step"] == 8
    done = subprocess.run([*command, "--resume", "last"], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = (folder / "metrics.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == list(range(2 * 36))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer.name": "adamw"}, r"cannot change optimizer\.name: sgd -> adamw; .*-w .*without --resume"),
        ({"optimizer.decay_norm_and_bias": False}, r"cannot change optimizer\.decay_norm_and_bias"),
        ({"network.out_channels": 32}, r"cannot change network\.out_channels: None -> 32"),
        ({"network.anchors": {"sizes": [[8], [64], [256]]}}, r"cannot change network\.anchors\.sizes"),
        ({"ema.enabled": False}, r"cannot change ema\.enabled: True -> False"),
        ({"weights": "mobilenet0.25"}, r"cannot change weights: None -> mobilenet0\.25"),
    ],
)
def test_what_a_resumed_run_cannot_change_is_refused(
    config: Path, whole: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        train_small(config, resume=str(whole / "checkpoints/last.ckpt"), changes=changes)
    with pytest.raises(SettingsError, match=message):
        train_small(None, resume=str(whole / "checkpoints/last.ckpt"), changes=changes)


@pytest.mark.usefixtures("config")
def test_a_changed_optimizer_is_in_force_in_a_resumed_run(whole: Path) -> None:
    shutil.copytree(whole, "run")
    changes = {
        "optimizer.lr": 0.5,
        "optimizer.weight_decay": 0.25,
        "optimizer.momentum": 0.125,
        "scheduler.name": "constant",
        "scheduler.warmup_epochs": 0,
        "trainer.max_epochs": 3,
        "trainer.limit_train_batches": 1,
    }
    train_small(None, resume="run", changes=changes)
    (group,) = read_last(Path("run"))["optimizer_states"][0]["param_groups"]
    assert (group["lr"], group["weight_decay"], group["momentum"]) == (0.5, 0.25, 0.125)
    with Path("run/metrics.csv").open() as file:
        assert float(list(csv.DictReader(file))[-1]["lr"]) == 0.5


@pytest.mark.parametrize("key", ["loops", "optimizer_states", "lr_schedulers"])
def test_a_checkpoint_without_the_state_of_the_training_is_refused(config: Path, whole: Path, key: str) -> None:
    content = torch.load(whole / "checkpoints/last.ckpt", weights_only=True)
    del content[key]
    torch.save(content, "part.ckpt")
    with pytest.raises(CheckpointError, match=rf"part\.ckpt: holds no {key}, so training cannot go on; .*-w"):
        train_small(config, resume="part.ckpt")


def test_fine_tuning_measures_the_start_weights_as_epoch_0(
    config: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {
        "optimizer.lr": 1e-12,
        "early_stopping.patience": 2,
        "trainer.max_epochs": 9,
        "trainer.freeze_batch_norm": True,
    }
    train_small(config, weights=str(whole / "best.safetensors"), changes=changes)
    folder = Path("runs/train/small")
    start, best = load_weights(whole / "best.safetensors"), load_weights(folder / "best.safetensors")
    assert best.training["epoch"] == best.training["step"] == 0
    assert best.training["scores"]["val/ap50"] == pytest.approx(start.training["scores"]["val/ap50"], abs=1e-9)
    torch.testing.assert_close(best.state["class_heads.0.weight"], start.state["class_heads.0.weight"])
    output = capsys.readouterr().out
    assert "epoch 0/9: start weights  ap50 0.0" in output
    assert "stopped early: val/ap50 has not risen above 0.0" in output and "in 2 validations" in output
    assert "best epoch 0 (val/ap50 0.0" in output and "training made none better" in output
    report = read_report(folder)
    assert report["best"]["epoch"] == 0 and report["status"] == "stopped early" and "has not risen" in report["stopped"]


def test_a_resumed_fine_tuning_is_still_compared_with_its_start_weights(
    config: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"optimizer.lr": 1e-12, "trainer.max_epochs": 1, "trainer.freeze_batch_norm": True}
    train_small(config, weights=str(whole / "best.safetensors"), changes=changes)
    first = re.search(r"best epoch 0 .*", capsys.readouterr().out)
    train_small(None, resume="runs/train/small", changes={"trainer.max_epochs": 2})
    output = capsys.readouterr().out
    assert "epoch 0/" not in output  # they are not measured again
    second = re.search(r"best epoch 0 .*", output)
    assert first is not None and second is not None
    assert first[0].rpartition(",")[0] == second[0].rpartition(",")[0]
    state = next(state for name, state in read_last(Path("runs/train/small"))["callbacks"].items() if "RunCh" in name)
    assert state["start_figures"]["val/ap50"] == state["best_score"]


def test_a_run_interrupted_in_its_first_epoch_keeps_the_start_weights_as_best(
    config: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        Interruption(patch, 1, kill)
        train_small(config, weights=str(whole / "best.safetensors"))
    train_small(None, resume="runs/train/small")
    train_small(config, weights=str(whole / "best.safetensors"))
    assert same_weights(Path("runs/train/small"), Path("runs/train/small-2"))
    first, second = (Path(f"runs/train/{name}/metrics.csv").read_text() for name in ("small", "small-2"))
    assert first == second


def test_the_line_of_an_epoch_shows_its_mean_loss(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_small(config, changes={"trainer.max_epochs": 1})
    with Path("runs/train/small/metrics.csv").open() as file:
        mean = sum(float(row["train/loss"]) for row in csv.DictReader(file)) / NUM_STEPS
    assert f"epoch 1/1: loss {mean:.3f}" in capsys.readouterr().out


def test_of_two_epochs_with_one_score_the_earlier_is_the_best(config: Path) -> None:
    changes = {"optimizer.lr": 1e-12, "trainer.freeze_batch_norm": True}
    train_small(config, changes=changes)
    assert read_report(Path("runs/train/small"))["best"]["epoch"] == 1


def _without_faces(config: Path) -> Path:
    """A copy of the label file in which no image has a face."""
    labels = config.parent / "labels.json"
    entries = [{**entry, "annotations": []} for entry in json.loads(labels.read_text())]
    path = config.parent / "none.json"
    path.write_text(json.dumps(entries))
    return path


def test_validation_without_faces_gives_no_ap_and_a_warning(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = [{"labels": str(_without_faces(config)), "images": str(config.parent / "images")}]
    train_small(config, changes={"data.validation": source})
    output = capsys.readouterr().out
    assert "warning: it has no faces, so no AP is measured; the last epoch counts as the best" in output
    assert "ap50" not in output and "best so far" not in output
    assert read_report(Path("runs/train/small"))["best"] == {"epoch": 2, "score": None}
    with pytest.raises(SettingsError, match=r"early_stopping\.patience: no validation with faces to judge by"):
        train_small(config, changes={"data.validation": source, "early_stopping.patience": 1})


def test_training_data_without_a_usable_face_is_refused(config: Path) -> None:
    source = [{"labels": str(_without_faces(config)), "images": str(config.parent / "images")}]
    with pytest.raises(LabelFormatError, match=r"none\.json: no face to learn from"):
        train_small(config, changes={"data.train": source})
    assert not Path("runs").exists()


def test_a_config_of_labels_alone_starts_from_the_detector_in_the_package() -> None:
    settings = validate_settings(TrainSettings, {"data": {"train": "labels.txt"}}, source="x.yaml")
    start = build_start(settings)
    assert start.notes[0].startswith("no weights are named, so training starts from the detector in the package")
    assert (
        start.settings.weights == "mobilenet0.25"
        and start.settings.network == load_weights(resolve_weights("mobilenet0.25")).network
    )


@pytest.mark.parametrize("name", ["mobilenet0.25", "resnet50"])
def test_a_starter_config_has_the_recipe_of_the_example(name: str) -> None:
    starter = validate_settings(TrainSettings, yaml.safe_load(starter_config(name)), source=name)
    example = load_settings(TrainSettings, REPOSITORY / "examples" / "configs" / f"{name}.yaml")
    for group in ("network", "augmentation", "loss", "optimizer", "scheduler", "ema", "trainer"):
        assert getattr(starter, group) == getattr(example, group), group
    assert starter.data.image_size == example.data.image_size
    assert starter.data.batch_size == example.data.batch_size


def test_a_starter_from_weights_leaves_the_network_to_the_checkpoint() -> None:
    assert "network" not in yaml.safe_load(starter_config("custom"))
    assert "network" in yaml.safe_load(starter_config("resnet50"))


def test_the_yaml_in_the_readme_is_a_config_of_train() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (block,) = [part for part in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL) if part.startswith("data:")]
    settings = validate_settings(TrainSettings, yaml.safe_load(block), source="README.md")
    assert build_start(settings).settings.weights == "mobilenet0.25"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "signum", "status"),
    [("group", signal.SIGTERM, 143), ("first", signal.SIGKILL, -9), ("second", signal.SIGKILL, 1)],
)
def test_a_signal_to_the_group_or_a_killed_process_ends_all_within_seconds(
    config: Path, target: str, signum: signal.Signals, status: int
) -> None:
    source = f"[{{labels: {config.parent}/labels.json, images: {config.parent}/images, weight: 100}}]"
    values = [f"--set={key}={json.dumps(value)}" for key, value in {**SMALL, "data.batch_size": 1}.items()]
    command = [sys.executable, "-m", "retinaface_cli", "train", str(config), *values, f"--set=data.train={source}"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--devices", "2"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    while "epoch 1/2, step" not in (line := process.stdout.readline()):
        assert line, "ended before the first step"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    second = next(int(child) for child in children if "retinaface_cli" in Path(f"/proc/{child}/cmdline").read_text())
    if target == "group":
        os.killpg(process.pid, signum)
    else:
        os.kill(process.pid if target == "first" else second, signum)
    output, errors = process.communicate(timeout=30)  # ends when the last process has closed it
    assert process.returncode == status
    assert "Traceback" not in errors
    if target == "group":
        assert "stopped by SIGTERM after step" in output and not errors
    else:
        assert "error: another process of the training ended" in errors
