from __future__ import annotations

import json
import os
import sqlite3
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retinaface_cli.errors import SettingsError
from retinaface_cli.settings.trainer import LoggerSettings
from retinaface_cli.training.loggers import RunLogger, build_loggers, check_packages
from retinaface_cli.training.loggers.metrics_csv import MetricsCsv, read_curves
from retinaface_cli.training.run_folder import RunFolder
from retinaface_cli.visualization.image_files import save_image


@pytest.fixture(autouse=True)
def no_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keeps the services from the network, from the home folder and from each other's environment."""
    before = dict(os.environ)
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb_home"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("COMET_LOGGING_CONSOLE", "critical")
    monkeypatch.delenv("NEPTUNE_DATA_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the services' own, which differ from version to version
        yield
    for name in set(os.environ) - set(before):
        del os.environ[name]


def _build(folder: Path, *, resume_step: int | None = None, **loggers: Any) -> list[RunLogger]:
    settings = LoggerSettings.model_validate({"csv": False, **loggers})
    return build_loggers(settings, folder=RunFolder(folder), experiment_name="night", resume_step=resume_step)


def _log_a_run(folder: Path, *, resume_step: int | None = None, **loggers: Any) -> None:
    """Settings, three losses and an image, as a training gives them."""
    image = folder / "curves.png"
    save_image(image, np.full((20, 30, 3), 200, np.uint8))
    for logger in _build(folder, resume_step=resume_step, **loggers):
        logger.log_hyperparams({"optimizer": {"name": "sgd", "lr": 0.125}, "sizes": [[1, 2], [3]]})
        for step in range(3):
            logger.log_metrics({"train/loss": 4.0 - step, "epoch": 0}, step=step + (resume_step or 0))
        logger.log_image("images/curves", image, step=2)
        logger.finalize("success")


def test_csv_alone_is_the_default(tmp_path: Path) -> None:
    loggers = build_loggers(LoggerSettings(), folder=RunFolder(tmp_path), experiment_name="x")
    assert [logger.name for logger in loggers] == ["csv"]
    assert not list(tmp_path.iterdir())


def test_figures_of_one_step_share_a_line_and_new_columns_are_added(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log = MetricsCsv(path)
    log.log_metrics({"train/loss": 2.5, "epoch": 0}, step=0)
    log.log_metrics({"train/loss": 2.0, "epoch": 0}, step=1)
    log.log_metrics({"val/ap50": 0.25, "epoch": 0}, step=1)
    log.log_metrics({"train/loss": 1 / 3, "epoch": 1}, step=2)
    lines = ["step,epoch,train/loss,val/ap50", "0,0,2.5,", "1,0,2,0.25", "2,1,0.333333,"]
    assert path.read_text() == "\n".join(lines) + "\n"
    assert read_curves(path) == {"train/loss": ([0, 1, 2], [2.5, 2.0, 0.333333]), "val/ap50": ([1], [0.25])}


def test_a_resumed_run_drops_the_lines_after_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,train/loss,val/ap50\n0,0,3,\n1,0,2,0.5\n2,1,1,\n3,1")  # cut off by kill -9
    log = MetricsCsv(path, resume_step=2)
    log.log_metrics({"train/loss": 7.0, "epoch": 1}, step=2)
    assert path.read_text() == "step,epoch,train/loss,val/ap50\n0,0,3,\n1,0,2,0.5\n2,1,7,\n"


def test_a_fresh_run_starts_with_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,x\n0,0,1\n")
    MetricsCsv(path).log_metrics({"y": 2.0}, step=0)
    assert path.read_text() == "step,epoch,y\n0,,2\n"


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("tensorboard", "tensorboard", "tensorboard"),
        ("wandb", "wandb", "wandb"),
        ("neptune", "neptune", "neptune"),
        ("mlflow", "mlflow", "mlflow"),
        ("comet", "comet_ml", "comet-ml"),
    ],
)
def test_a_missing_package_is_one_sentence_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, package: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda wanted: None if wanted == module else object())
    with pytest.raises(SettingsError) as caught:
        check_packages(LoggerSettings.model_validate({name: True}))
    assert str(caught.value) == f"loggers.{name}: the package {package} is not installed: pip install {package}"


def test_tensorboard_gets_figures_settings_and_images(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    _log_a_run(tmp_path, tensorboard=True)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(0, 4.0), (1, 3.0), (2, 2.0)]
    image = events.Images("images/curves")[0]
    assert (image.width, image.height, image.step) == (30, 20, 2)
    assert "settings/text_summary" in events.Tags()["tensors"]


def test_tensorboard_hides_what_came_after_the_checkpoint_of_a_resumed_run(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    _log_a_run(tmp_path, tensorboard=True)
    _log_a_run(tmp_path, tensorboard=True, resume_step=1)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [0, 1, 2, 3]


def test_wandb_writes_an_offline_run_that_keeps_its_id(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    _log_a_run(tmp_path, wandb={"offline": True, "project": "faces"})
    run_id = json.loads((tmp_path / "logger_ids.json").read_text())["wandb"]
    _log_a_run(tmp_path, wandb={"offline": True, "project": "faces"}, resume_step=3)
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert {run.name.rpartition("-")[2] for run in runs} == {run_id}
    stored = next(runs[0].glob("*.wandb")).read_bytes()
    assert b"train/loss" in stored and b"optimizer" in stored
    assert list(runs[0].rglob("curves*.png"))


def test_neptune_writes_an_offline_run(tmp_path: Path) -> None:
    pytest.importorskip("neptune")
    _log_a_run(tmp_path, neptune={"offline": True})
    logged = "".join(path.read_text() for path in (tmp_path / "neptune").rglob("data-*.log"))
    assert '"train", "loss"' in logged and '"settings", "optimizer.lr"' in logged
    assert '"images", "curves"' in logged
    assert not (tmp_path / ".neptune").exists()


@pytest.mark.slow
def test_mlflow_writes_its_database_and_goes_on_with_the_same_run(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    _log_a_run(tmp_path, mlflow=True)
    _log_a_run(tmp_path, mlflow=True, resume_step=3)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        metrics = database.execute("select step, value from metrics where key = 'train/loss' order by step").fetchall()
        params = dict(database.execute("select key, value from params").fetchall())
        runs = database.execute("select name, status from runs").fetchall()
    database.close()
    assert metrics == [(0, 4.0), (1, 3.0), (2, 2.0), (3, 4.0), (4, 3.0), (5, 2.0)]
    assert params["optimizer.lr"] == "0.125" and params["sizes"] == "[[1, 2], [3]]"
    assert runs == [("night", "FINISHED")]
    assert list((tmp_path / "mlflow_artifacts").rglob("images/curves.png"))


def test_comet_writes_an_offline_archive(tmp_path: Path) -> None:
    pytest.importorskip("comet_ml")
    _log_a_run(tmp_path, comet={"offline": True, "project": "faces"})
    (archive,) = (tmp_path / "comet").glob("*.zip")
    with zipfile.ZipFile(archive) as content:
        messages = content.read("messages.json").decode()
        assert any(name.endswith(".png") for name in content.namelist()) or "image" in messages
    assert "train/loss" in messages and "optimizer.lr" in messages


@pytest.mark.slow
def test_a_service_that_refuses_is_named(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    with pytest.raises(SettingsError, match=r"^loggers\.mlflow: "):
        _log_a_run(tmp_path, mlflow={"tracking_uri": "nonsense://nowhere"})
