from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retinaface_cli.errors import SettingsError
from retinaface_cli.settings.base import load_settings, validate_settings
from retinaface_cli.settings.documentation import render_settings
from retinaface_cli.settings.trainer import TrainerSettings
from retinaface_cli.settings.training import TrainSettings
from tests.conftest import REPOSITORY

MINIMAL = {"data": {"train": [{"labels": "label.txt"}]}}
EXAMPLES = sorted((REPOSITORY / "examples" / "configs").glob("*.yaml"))


def _settings(**changes: object) -> TrainSettings:
    return validate_settings(TrainSettings, {**MINIMAL, **changes}, source="test")


def test_only_the_training_labels_have_no_default() -> None:
    with pytest.raises(SettingsError, match=r"test: data: missing, and it has no default"):
        validate_settings(TrainSettings, {}, source="test")
    assert _settings().trainer.max_epochs == 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimzer": {"lr": 1}}, r"optimzer: unknown setting; did you mean optimizer\?"),
        ({"trainer": {"max_epoch": 3}}, r"trainer\.max_epoch: unknown setting; did you mean max_epochs\?"),
        ({"trainer": {"max_epochs": "many"}}, r"trainer\.max_epochs: .*integer.*got 'many'"),
        ({"trainer": {"max_epochs": 0}}, r"trainer\.max_epochs: .*greater than 0.*got 0"),
        ({"optimizer": {"name": "sdg"}}, r"optimizer\.name: unknown kind 'sdg'; did you mean sgd\?"),
        ({"loss": {"box": {"name": "giou", "beta": 1}}}, r"loss\.box\.beta: unknown setting"),
        ({"loggers": {"wandb": {"projcet": "x"}}}, r"loggers\.wandb\.projcet: unknown setting; did you mean project\?"),
        ({"experiment_name": "a/b"}, r"experiment_name: "),
        ({"checkpoint": {"monitor": "val/ap"}}, r"checkpoint\.monitor: .*'val/ap50'"),
        ({"checkpoint": {"monitor": "val/wider_hard"}}, r"val/wider_hard, which needs validation\.wider_ground_truth"),
        ({"trainer": {"devices": "two"}}, r"trainer\.devices: expected auto, a number, or indices"),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_its_place(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        _settings(**changes)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("auto", "auto"), ("2", 2), (2, 2), ("0,1", (0, 1)), ([1, 3], (1, 3)), ("-1", -1)],
)
def test_devices_are_a_number_or_indices(given: object, wanted: object) -> None:
    assert TrainerSettings.model_validate({"devices": given}).devices == wanted


@pytest.mark.parametrize(("given", "wanted"), [("32-true", "32"), (16, "16"), ("fp16", "16"), ("bf16-mixed", "bf16")])
def test_precision_takes_the_words_of_lightning(given: object, wanted: str) -> None:
    assert TrainerSettings.model_validate({"precision": given}).precision == wanted


@pytest.mark.parametrize(("given", "wanted"), [("3", 3), (3, 3), ("0.5", 0.5), (1.0, 1.0), ("0", 0)])
def test_a_limit_is_a_number_of_batches_or_a_part_of_them(given: object, wanted: float) -> None:
    limit = TrainerSettings.model_validate({"limit_train_batches": given}).limit_train_batches
    assert limit == wanted
    assert type(limit) is type(wanted)


def test_a_logger_is_switched_on_by_true_or_by_its_settings() -> None:
    loggers = _settings(loggers={"tensorboard": True, "wandb": {"offline": True}, "mlflow": False}).loggers
    assert loggers.tensorboard is not None
    assert loggers.wandb is not None and loggers.wandb.offline
    assert loggers.mlflow is None and loggers.comet is None
    assert loggers.csv


def test_the_rendered_settings_read_back_to_the_same(tmp_path: Path) -> None:
    settings = _settings(
        loggers={"wandb": {"tags": ["a", "b: c"]}},
        data={"train": [{"labels": "a.txt", "weight": 2}, {"labels": "b.json", "images": "b"}]},
        augmentation={"extra": [{"name": "CLAHE", "arguments": {"p": 0.5}}]},
        loss={"box": {"name": "diou"}, "matching": {"name": "atss"}},
    )
    path = tmp_path / "config.yaml"
    path.write_text(render_settings(settings, heading="two\nlines"), encoding="utf-8")
    assert load_settings(TrainSettings, path) == settings


def test_every_rendered_setting_stands_under_its_description() -> None:
    lines = render_settings(_settings(), heading="heading").splitlines()
    values = [i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    assert len(values) > 100
    assert all(lines[i - 1].lstrip().startswith("# ") for i in values)
    assert "  # Number of devices on each machine, or a list of their indices; auto or -1: all that are there." in lines
    assert max(map(len, lines)) <= 120


def test_the_choices_of_a_setting_are_listed() -> None:
    text = " ".join(line.strip("# ") for line in render_settings(_settings()).splitlines())
    assert "One of: 32, 16, bf16." in text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_config_is_valid(path: Path) -> None:
    assert load_settings(TrainSettings, path).experiment_name


def test_there_are_example_configs() -> None:
    assert {"mobilenet0.25.yaml", "mobilenet0.25_old_recipe.yaml", "resnet50.yaml"} <= {path.name for path in EXAMPLES}


@pytest.mark.parametrize(
    "data",
    [
        {"train": "labels.txt"},
        {"train": ["labels.txt"]},
        {"train": {"labels": "labels.txt"}},
        {"train": [{"labels": "labels.txt"}]},
    ],
)
def test_a_path_stands_for_a_label_file(data: dict[str, Any]) -> None:
    settings = validate_settings(TrainSettings, {"data": data}, source="x.yaml")
    assert [source.labels for source in settings.data.train] == [Path("labels.txt")]


@pytest.mark.parametrize(
    "key",
    ["data.train.0.labels", "data.train.0.images", "output", "backbone_weights", "validation.wider_ground_truth"],
)
def test_an_address_on_the_web_is_no_path(key: str) -> None:
    values = {"data.train": [{"labels": "a.json"}], key: "https://host/a.json"}
    with pytest.raises(SettingsError, match=r"expected a path on this machine; download it first, got 'https://host"):
        load_settings(TrainSettings, overrides=values)


def test_an_item_of_a_list_is_set_by_its_number() -> None:
    values = {"data.train": [{"labels": "a.json"}, {"labels": "b.json"}], "data.train.1.labels": "c.json"}
    settings = load_settings(TrainSettings, overrides=values)
    assert [source.labels.name for source in settings.data.train] == ["a.json", "c.json"]


@pytest.mark.parametrize("part", ["1", "-1", "x", "9" * 5000])
def test_an_item_that_is_not_there_is_refused(part: str) -> None:
    values = {"data.train": [{"labels": "a.json"}], f"data.train.{part}.labels": "c.json"}
    with pytest.raises(SettingsError, match="expected the number of an item, 0 to 0"):
        load_settings(TrainSettings, overrides=values)


def test_a_value_of_any_size_gives_a_short_message(tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    path = tmp_path / "laughs.yaml"
    path.write_text("\n".join([*lines, "seed: *a9", "data: *a9", "optimizer: *a9", "output: *a9"]))
    with pytest.raises(SettingsError) as caught:
        load_settings(TrainSettings, path)
    assert "seed" in str(caught.value) and len(str(caught.value)) < 5000


def test_numbers_of_more_than_32_bits_are_refused() -> None:
    for changes in ({"data": {"train": "a.json", "batch_size": 1 << 32}}, {"trainer": {"max_epochs": 10**400}}):
        with pytest.raises(SettingsError, match="expected at most 4,294,967,295, got"):
            _settings(**changes)
    assert _settings(seed=(1 << 32) - 1).seed == (1 << 32) - 1
