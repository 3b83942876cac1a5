from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest

from retinaface_cli.errors import SettingsError
from retinaface_cli.settings.base import read_yaml, validate_settings
from retinaface_cli.settings.legacy import add_paths_from_environment, is_legacy_config, translate_legacy_config
from retinaface_cli.settings.optimization import SgdSettings, WarmRestartsSettings
from retinaface_cli.settings.training import TrainSettings

FOLDER = Path(__file__).parent.parent / "fixtures" / "old_configs"
CONFIGS = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of the process, which name the data."""
    paths = {"TRAIN_LABEL_PATH": "train.json", "TRAIN_IMAGE_PATH": "train", "VAL_LABEL_PATH": "v.json"}
    monkeypatch.setattr(os, "environ", paths)
    return paths


def _translate(path: Path) -> TrainSettings:
    values, _ = translate_legacy_config(read_yaml(path), source=path.name)
    add_paths_from_environment(values)
    return validate_settings(TrainSettings, values, source=path.name)


def _old(name: str = "2020-07-20") -> dict[str, Any]:
    return read_yaml(FOLDER / f"{name}.yaml")


def test_there_are_three_old_configs() -> None:
    assert [path.stem for path in CONFIGS] == ["2020-07-19", "2020-07-20", "2020-11-15"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_an_old_config_is_told_from_a_new_one(path: Path) -> None:
    assert is_legacy_config(read_yaml(path))
    assert not is_legacy_config({"data": {"train": []}, "network": {"backbone": "resnet50"}})
    assert not is_legacy_config({})


@pytest.mark.parametrize(
    ("name", "weight_decay", "size", "batch", "turns", "hue", "value", "brightness"),
    [
        ("2020-07-19", 5e-4, 840, 8, 0.0, 20, 0, 0.125),
        ("2020-07-20", 5e-4, 840, 8, 1.0, 20, 0, 0.125),
        ("2020-11-15", 1e-4, 1024, 6, 1.0, 20, 20, 0.2),
    ],
)
def test_an_old_config_keeps_its_values(
    name: str, weight_decay: float, size: int, batch: int, turns: float, hue: int, value: int, brightness: float
) -> None:
    settings = _translate(FOLDER / f"{name}.yaml")
    assert settings.experiment_name == name and settings.seed == 1984
    assert settings.network.backbone == "resnet50" and settings.network.out_channels == 256
    assert settings.network.preprocessing.mean == pytest.approx((123.675, 116.28, 103.53))
    assert isinstance(settings.optimizer, SgdSettings)
    assert (settings.optimizer.lr, settings.optimizer.momentum) == (1e-3, 0.9)
    assert settings.optimizer.weight_decay == weight_decay
    assert isinstance(settings.scheduler, WarmRestartsSettings)
    assert (settings.scheduler.first_cycle_epochs, settings.scheduler.cycle_growth) == (10, 2)
    assert (settings.data.image_size, settings.data.batch_size, settings.data.num_workers) == (size, batch, 4)
    assert settings.augmentation.flip.rotate90 == turns
    brightness_contrast, hue_saturation, gamma = settings.augmentation.extra
    assert brightness_contrast.arguments["brightness_limit"] == [-brightness, brightness]
    assert hue_saturation.arguments["hue_shift_limit"] == [-hue, hue]
    assert hue_saturation.arguments["val_shift_limit"] == [-value, value]
    assert (gamma.name, gamma.arguments) == ("RandomGamma", {"gamma_limit": [80, 120], "p": 0.5})
    assert settings.augmentation.color.probability == 0  # the old code had no colour changes but those
    trainer = settings.trainer
    assert (trainer.max_epochs, trainer.devices, trainer.accelerator, trainer.strategy) == (150, 4, "gpu", "ddp")
    assert trainer.precision == "16" and trainer.sync_batchnorm
    assert settings.loss.weights.localization == 2
    assert settings.checkpoint.keep_every_n_epochs == 1
    assert not settings.ema.enabled


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_old_key_has_a_note_or_keeps_its_name(path: Path) -> None:
    old = read_yaml(path)
    _, notes = translate_legacy_config(copy.deepcopy(old), source=path.name)
    noted = " ".join(note.key for note in notes)
    same_name = {"seed", "experiment_name"}
    assert [key for key in old if key not in same_name and key not in noted] == []
    assert {note.kind for note in notes} == {"mapped", "changed", "unused"}
    assert not [note for note in notes if note.text.startswith("not known;")]


def test_an_unknown_old_key_is_told() -> None:
    old = _old()
    old["trainer"]["weights_summary"] = "top"
    old["something"] = 1
    _, notes = translate_legacy_config(old, source="x.yaml")
    unknown = [note.key for note in notes if note.text.startswith("not known;")]
    assert unknown == ["trainer.weights_summary", "something"]


@pytest.mark.parametrize(
    ("group", "key", "value", "message"),
    [
        ("optimizer", "type", "torch.optim.Adagrad", r"x\.yaml: optimizer\.type: got Adagrad, known: SGD, AdamW"),
        ("scheduler", "type", "torch.optim.lr_scheduler.LambdaLR", r"scheduler\.type: got LambdaLR, known: Cosine"),
        ("model", "name", "Resnet101", r"model\.name: got Resnet101, known: Resnet50, mobilenet0\.25"),
    ],
)
def test_a_class_without_counterpart_is_refused_by_name(group: str, key: str, value: str, message: str) -> None:
    old = _old()
    old[group][key] = value
    with pytest.raises(SettingsError, match=message):
        translate_legacy_config(old, source="x.yaml")


def test_no_class_is_imported_by_the_string_in_a_config(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    monkeypatch.setattr("importlib.import_module", lambda name, *_: imported.append(name))
    old = _old()
    old["optimizer"]["type"] = "os.SGD"
    values, _ = translate_legacy_config(old, source="x.yaml")
    assert values["optimizer"]["name"] == "sgd"
    assert imported == []


def test_a_choice_between_transforms_is_refused_rather_than_lost() -> None:
    old = _old()
    one_of = {"__class_fullname__": "albumentations.core.composition.OneOf", "transforms": [], "p": 0.5}
    old["train_aug"]["transform"]["transforms"].insert(0, one_of)
    with pytest.raises(SettingsError, match=r"x\.yaml: train_aug: OneOf has no counterpart"):
        translate_legacy_config(old, source="x.yaml")


def test_the_environment_names_the_data_where_the_config_does_not() -> None:
    values: dict[str, Any] = {}
    notes = add_paths_from_environment(values)
    assert values["data"]["train"] == [{"labels": "train.json", "images": "train"}]
    assert values["data"]["validation"] == [{"labels": "v.json", "images": None}]
    assert [note.key for note in notes] == ["TRAIN_LABEL_PATH", "VAL_LABEL_PATH"]


def test_the_environment_does_not_replace_what_the_config_names() -> None:
    values: dict[str, Any] = {"data": {"train": [{"labels": "mine.txt"}]}}
    add_paths_from_environment(values)
    assert values["data"]["train"] == [{"labels": "mine.txt"}]


def test_without_paths_anywhere_the_data_stay_missing(environment: dict[str, str]) -> None:
    environment.clear()
    values: dict[str, Any] = {}
    assert add_paths_from_environment(values) == []
    assert values == {}


def test_the_paths_of_an_old_config_count_where_they_are_there(tmp_path: Path) -> None:
    labels = tmp_path / "label.json"
    labels.write_text("[]")
    old = _old()
    old |= {"train_annotation_path": str(labels), "train_image_path": str(tmp_path)}
    values, notes = translate_legacy_config(old, source="x.yaml")
    assert values["data"]["train"] == [{"labels": str(labels), "images": str(tmp_path)}]
    missing = [note for note in notes if "val_annotation_path" in note.key]
    assert "VAL_LABEL_PATH" in missing[0].text


@pytest.mark.parametrize(
    ("trainer", "keys"),
    [
        ({"precision": 16}, {"trainer.precision"}),
        ({"amp_level": "O1"}, {"trainer.amp_level"}),
        ({"precision": 16, "amp_level": "O1"}, {"trainer.precision", "trainer.amp_level"}),
    ],
)
def test_half_precision_is_noted_under_the_keys_that_are_there(trainer: dict[str, Any], keys: set[str]) -> None:
    legacy = _old() | {"trainer": trainer}
    values, notes = translate_legacy_config(legacy, source="x.yaml")
    assert values["trainer"]["precision"] == "16"
    assert {note.key for note in notes if note.text == "trainer.precision: 16"} == keys
    assert not [note for note in notes if note.kind == "unused" and note.key.startswith("trainer.")]


def test_each_key_of_a_legacy_config_has_one_note_at_most(tmp_path: Path) -> None:
    labels = tmp_path / "label.json"
    labels.write_text("[]")
    for legacy in (
        _old() | {"train_annotation_path": str(labels), "train_image_path": str(tmp_path)},
        _old() | {"train_annotation_path": "none.json", "train_image_path": "none"},
        {key: value for key, value in _old().items() if key != "train_annotation_path"} | {"train_image_path": "none"},
    ):
        _, notes = translate_legacy_config(legacy, source="x.yaml")
        noted = [note for note in notes if "train_image_path" in note.key]
        assert len(noted) == 1
        assert "known" not in noted[0].text
        assert noted[0].kind == ("mapped" if legacy.get("train_annotation_path") == str(labels) else "unused")


@pytest.mark.parametrize(
    "values",
    [
        {"image_size": [None, None]},
        {"image_size": []},
        {
            "train_aug": {
                "transform": {"__class_fullname__": "Normalize", "mean": ["a"], "std": [1.0], "max_pixel_value": 255}
            }
        },
    ],
)
def test_values_of_another_kind_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=rf"old\.yaml: {next(iter(values))}: is of another kind"):
        translate_legacy_config({**_old(), **values}, source="old.yaml")
