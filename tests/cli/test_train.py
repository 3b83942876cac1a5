from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from retinaface_cli.cli.app import app
from retinaface_cli.commands.train import run as train
from retinaface_cli.commands.train.options import TrainRequest
from retinaface_cli.errors import RetinaFaceError, SettingsError
from tests.conftest import REPOSITORY

OLD_CONFIG = REPOSITORY / "tests" / "fixtures" / "old_configs" / "2020-07-20.yaml"


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[TrainRequest]:
    """What `train` was asked to do; nothing is trained."""
    monkeypatch.chdir(tmp_path)
    for name in ("TRAIN_LABEL_PATH", "TRAIN_IMAGE_PATH", "VAL_LABEL_PATH", "VAL_IMAGE_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "c.yaml").write_text("data: {train: [{labels: a.json}]}\noptimizer: {lr: 0.5}\n")
    asked: list[TrainRequest] = []
    monkeypatch.setattr(train, "run", lambda request, **_: asked.append(request))
    return asked


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["train", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_options_count_more_than_set_and_set_more_than_the_file(requests: list[TrainRequest]) -> None:
    _run(
        *("c.yaml", "--set", "trainer.max_epochs=5", "--set", "optimizer.momentum=0.5", "--max-epochs", "7"),
        *("--devices", "0,1", "--num-nodes", "2", "--accelerator", "cpu", "--strategy", "ddp", "--precision", "bf16"),
        *("--seed", "3", "-o", "out", "--limit-train-batches", "4", "--limit-val-batches", "0.5", "-w", "x.pth"),
    )
    settings = requests[0].settings
    assert (settings.trainer.max_epochs, settings.seed, settings.output) == (7, 3, Path("out"))
    assert settings.optimizer.lr == 0.5 and settings.optimizer.momentum == 0.5  # type: ignore[union-attr]
    trainer = settings.trainer
    assert (trainer.devices, trainer.num_nodes, trainer.accelerator, trainer.strategy) == ((0, 1), 2, "cpu", "ddp")
    assert (trainer.precision, trainer.limit_train_batches, trainer.limit_val_batches) == ("bf16", 4, 0.5)
    assert settings.weights == "x.pth"


def test_fp16_is_a_precision(requests: list[TrainRequest]) -> None:
    _run("c.yaml", "--fp16", "--fast-dev-run")
    assert requests[0].settings.trainer.precision == "16"
    assert requests[0].settings.trainer.fast_dev_run is True


@pytest.mark.parametrize("option", ["-c", "--config_path", "--config-path"])
def test_the_old_spelling_of_the_config_still_works(requests: list[TrainRequest], option: str) -> None:
    _run(option, "c.yaml")
    assert requests[0].settings.optimizer.lr == 0.5


def test_an_old_config_is_read_with_the_paths_of_the_environment(
    requests: list[TrainRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAIN_LABEL_PATH", "t.json")
    monkeypatch.setenv("TRAIN_IMAGE_PATH", "images")
    _run("-c", str(OLD_CONFIG))
    settings = requests[0].settings
    assert (settings.network.backbone, settings.data.image_size) == ("resnet50", 840)
    assert str(settings.data.train[0].labels) == "t.json"
    assert {note.kind for note in requests[0].notes} == {"mapped", "changed", "unused"}


def test_an_old_config_without_paths_says_what_is_missing(requests: list[TrainRequest]) -> None:
    with pytest.raises(SettingsError, match=r"2020-07-20\.yaml: data\.train: missing"):
        _run(str(OLD_CONFIG))
    assert requests == []


@pytest.mark.parametrize("arguments", [("--resume",), ("--resume", "last"), ("--resume", "--max-epochs", "9")])
def test_a_bare_resume_means_the_last_run(requests: list[TrainRequest], arguments: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match=r"--resume last: no last\.ckpt in runs/train"):
        _run(*arguments)
    assert requests == []


def test_without_a_config_there_is_nothing_to_train(requests: list[TrainRequest]) -> None:
    with pytest.raises(RetinaFaceError, match=r"name a config, .*--init-config custom"):
        _run("--max-epochs", "3")
    assert requests == []


@pytest.mark.parametrize("name", ["mobilenet0.25", "resnet50", "custom"])
def test_init_config_writes_a_config_that_can_be_read(requests: list[TrainRequest], name: str) -> None:
    output = _run("--init-config", name)
    assert f"retinaface train {name}.yaml" in output
    _run(f"{name}.yaml")
    assert requests[0].settings.experiment_name == name
    with pytest.raises(SettingsError, match="exists; name another file"):
        _run("--init-config", name)
    _run("other.yaml", "--init-config", name)
    assert Path("other.yaml").read_text() == Path(f"{name}.yaml").read_text()


def test_an_unknown_starter_is_refused(requests: list[TrainRequest]) -> None:
    with pytest.raises(SettingsError, match=r"--init-config vgg: known: mobilenet0\.25, resnet50, custom"):
        _run("--init-config", "vgg")
    assert requests == []


def test_print_config_prints_all_settings_in_force_and_trains_nothing(requests: list[TrainRequest]) -> None:
    output = _run("c.yaml", "--set", "optimizer.lr=0.25", "--print-config")
    values = yaml.safe_load(output)
    assert values["optimizer"]["lr"] == 0.25 and values["trainer"]["max_epochs"] == 100
    assert "# Epochs to train." in output
    assert requests == []


def test_print_config_shows_what_became_of_an_old_config(
    requests: list[TrainRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAIN_LABEL_PATH", "t.json")
    output = _run(str(OLD_CONFIG), "--print-config")
    assert "# unused  trainer.progress_bar_refresh_rate: the bar sets its own pace" in output
    assert yaml.safe_load(output)["network"]["backbone"] == "resnet50"
    assert requests == []


def test_the_bare_command_prints_its_help() -> None:
    result = CliRunner().invoke(app, ["train"])
    assert result.exit_code in (0, 2) and "Usage" in result.output and "Traceback" not in result.output
