"""The YAML configs of ternaus/retinaface as a table: which key became what, and what has no effect any more.

Classes that such a file names by their import path are looked up by their last part; nothing is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retinaface_cli.errors import SettingsError, reason_of, shown
from retinaface_cli.settings.base import assign
from retinaface_cli.settings.data import AUGMENTATIONS

PATH_VARIABLES = {
    "train": ("TRAIN_LABEL_PATH", "TRAIN_IMAGE_PATH"),
    "validation": ("VAL_LABEL_PATH", "VAL_IMAGE_PATH"),
}
"""Environment variables that name label file and image folder where the config does not."""

_LEGACY_ONLY = frozenset({"train_parameters", "val_parameters", "prior_box", "train_aug", "checkpoint_callback"})

_RENAMED = {
    **{f"loss_weights.{key}": f"loss.weights.{key}" for key in ("localization", "classification", "landmarks")},
    **{key: key for key in ("seed", "experiment_name")},
    **{f"optimizer.{key}": f"optimizer.{key}" for key in ("lr", "weight_decay", "momentum", "nesterov", "betas")},
    **{f"scheduler.{key}": f"scheduler.{key}" for key in ("milestones", "gamma")},
    **{
        f"trainer.{key}": f"trainer.{key}"
        for key in ("max_epochs", "num_sanity_val_steps", "benchmark", "deterministic", "num_nodes")
    },
    **{f"trainer.{key}": f"trainer.{key}" for key in ("sync_batchnorm", "accumulate_grad_batches")},
    "num_workers": "data.num_workers",
    "model.out_channels": "network.out_channels",
    "prior_box.min_sizes": "network.anchors.sizes",
    "prior_box.steps": "network.anchors.strides",
    "scheduler.T_0": "scheduler.first_cycle_epochs",
    "scheduler.T_mult": "scheduler.cycle_growth",
    "trainer.gradient_clip_val": "trainer.gradient_clip_norm",
    "trainer.check_val_every_n_epoch": "trainer.val_every_n_epochs",
    "sync_bn": "trainer.sync_batchnorm",
    "train_parameters.batch_size": "data.batch_size",
    "val_parameters.batch_size": "data.validation_batch_size",
    "val_parameters.iou_threshold": "validation.nms_iou_threshold",
    "loss.neg_pos": "loss.classification.negatives_per_positive",
}
"""Keys whose value is taken over as it is."""

_CHOICES: dict[str, tuple[str, dict[str, str], str]] = {
    "model.name": ("network.backbone", {"Resnet50": "resnet50", "mobilenet0.25": "mobilenet0.25"}, "Resnet50"),
    "optimizer.type": ("optimizer.name", {"SGD": "sgd", "AdamW": "adamw"}, "SGD"),
    "scheduler.type": (
        "scheduler.name",
        {"CosineAnnealingWarmRestarts": "warm_restarts", "MultiStepLR": "multi_step", "CosineAnnealingLR": "cosine"},
        "",
    ),
}
"""Keys that name a class or network: the new key, the new names by the legacy ones, and the legacy default."""

_UNUSED_BEFORE = "did nothing before either"
_UNUSED = {
    **dict.fromkeys(("model.in_channels", "model.return_layers"), "follows from the backbone"),
    "prior_box.type": "anchors are made from network.anchors",
    "prior_box.clip": "anchors are never clipped at the border",
    "prior_box.image_size": "anchors follow the size of each image",
    "test_parameters.variance": "fixed at 0.1 and 0.2, as in every checkpoint of the family",
    "num_classes": "always two: background and face",
    "scheduler.T_max": "the cosine always ends with the last epoch",
    "trainer.progress_bar_refresh_rate": "the bar sets its own pace",
    "val_parameters.box_min_size": f"{_UNUSED_BEFORE}; see augmentation.min_face_size",
    **dict.fromkeys(
        ("checkpoint_callback.monitor", "checkpoint_callback.mode"),
        "the best epoch is that of the highest val/ap50 (checkpoint.monitor)",
    ),
    "checkpoint_callback.filepath": "the run's folder is runs/train/<experiment_name>, or --output",
    "checkpoint_callback.verbose": "what is saved is always said",
    **dict.fromkeys(
        [f"loss.{key}" for key in ("prior_for_matching", "bkg_label", "neg_mining", "neg_overlap", "encode_target")],
        _UNUSED_BEFORE,
    ),
    **dict.fromkeys(("loss.num_classes", "loss.priors"), _UNUSED_BEFORE),
    **dict.fromkeys(
        ("val_aug", "test_aug"),
        "validation images are resized (data.validation_scale) and normalised, nothing else",
    ),
    "weights": f"{_UNUSED_BEFORE}; to start from a checkpoint: -w PATH",
}
"""Keys without effect, and why."""

_CLASS_KEYS = tuple(f"{group}.type" for group in ("model", "trainer", "checkpoint_callback", "loss"))
"""Keys that name the only class there is."""

_DONE_ELSEWHERE = {
    "Resize": "the crop is scaled to data.image_size",
    "Normalize": "network.preprocessing",
    "ToTensor": "always done",
    "ToTensorV2": "always done",
    "HorizontalFlip": "augmentation.flip.horizontal",
}
_GONE_ARGUMENTS = {"always_apply": False, "eps": 1e-07}
"""Arguments that albumentations no longer has, and the value at which their loss changes nothing."""


@dataclass(frozen=True)
class Note:
    """What became of one key of a legacy config.

    Attributes:
        kind: mapped: used under another name; changed: used, but it works differently; unused: without effect.
        key: dotted key in the legacy file.
        text: for the user to read.
    """

    kind: Literal["mapped", "changed", "unused"]
    key: str
    text: str


def is_legacy_config(values: Mapping[str, Any]) -> bool:
    """Whether a mapping read from YAML is a config of ternaus/retinaface."""
    model = values.get("model")
    return bool(_LEGACY_ONLY & values.keys()) or (isinstance(model, Mapping) and "type" in model)


def translate_legacy_config(legacy: Mapping[str, Any], *, source: str) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Turns a legacy config into values for TrainSettings.

    Returns:
        The new values (data paths may be missing, see add_paths_from_environment) and what became of each legacy key.

    Raises:
        SettingsError: an optimizer, scheduler, backbone or transform that has no counterpart, or a value of a kind that
            no such config has.
    """
    translation = _Translation(legacy, source=source)
    steps = (
        translation.choose,
        translation.rename,
        translation.translate_scheduler,
        translation.translate_trainer,
        translation.translate_sizes,
        translation.translate_augmentation,
        translation.translate_paths,
        translation.leave_out,
    )
    for step in steps:
        try:
            step()
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
            raise SettingsError(
                f"{shown(source)}: a value is of another kind than configs of ternaus/retinaface have "
                f"({step.__name__.replace('_', ' ')}: {reason_of(error)})"
            ) from None
    return translation.values, tuple(translation.notes)


def add_paths_from_environment(values: dict[str, Any], environment: Mapping[str, str] | None = None) -> list[Note]:
    """Fills label files and image folders that the values do not name from PATH_VARIABLES.

    Args:
        values: settings read from a file; changed in place.
        environment: None: that of the process.
    """
    variables = os.environ if environment is None else environment
    notes: list[Note] = []
    data = values.setdefault("data", {})
    for part, (labels_name, images_name) in PATH_VARIABLES.items():
        if not isinstance(data, dict) or data.get(part) or not variables.get(labels_name):
            continue
        data[part] = [{"labels": variables[labels_name], "images": variables.get(images_name)}]
        notes.append(Note("mapped", labels_name, f"data.{part}: {variables[labels_name]}"))
    if data == {}:
        del values["data"]
    return notes


class _Translation:
    """New values and notes, collected while a legacy config is read key by key."""

    def __init__(self, legacy: Mapping[str, Any], *, source: str) -> None:
        self.values: dict[str, Any] = {}
        self.notes: list[Note] = []
        self._source = source
        self._left = {key: dict(value) if isinstance(value, Mapping) else value for key, value in legacy.items()}

    def choose(self) -> None:
        """The keys of _CHOICES."""
        for key, (new, names, default) in _CHOICES.items():
            given = str(self._take(key) or default).rsplit(".", 1 if key.endswith(".type") else 0)[-1]
            by_name = {name.lower(): new_name for name, new_name in names.items()}
            if given and given.lower() not in by_name:
                raise SettingsError(f"{self._source}: {key}: got {given}, known: {', '.join(names)}")
            chosen = by_name[given.lower()] if given else "constant"
            self._put(new, chosen)
            if key == "scheduler.type":
                text = f"{new}: {chosen}; it now moves at every step, not once an epoch"
                self.notes.append(Note("changed", key, text))
            else:
                self.notes.append(Note("mapped", key, f"{new}: {chosen}"))

    def rename(self) -> None:
        """The keys of _RENAMED."""
        for key, new in _RENAMED.items():
            value = self._take(key)
            if value is not None:
                self._map(key, new, value)

    def translate_scheduler(self) -> None:
        """The end of a cosine, which was a learning rate and is a factor of it."""
        lowest = self._take("scheduler.eta_min")
        if self.values["scheduler"]["name"] in ("warm_restarts", "cosine"):
            factor = float(lowest or 0) / float(self.values["optimizer"].get("lr", 1e-3))
            self._put("scheduler.final_factor", factor)

    def translate_trainer(self) -> None:
        """Devices, precision, and what is kept."""
        gpus = self._take("trainer.gpus")
        if gpus is not None:
            self._put("trainer.accelerator", "gpu" if gpus else "cpu")
            self._map("trainer.gpus", "trainer.devices", gpus or 1, more="; --devices overrides it")
        for key, is_half in (("trainer.precision", lambda value: str(value) == "16"), ("trainer.amp_level", bool)):
            value = self._take(key)
            if value is not None and is_half(value):
                self._put("trainer.precision", "16")
                self.notes.append(Note("mapped", key, "trainer.precision: 16"))
        backend = self._take("trainer.distributed_backend")
        if backend is not None:
            strategy = "ddp" if str(backend).startswith("ddp") else "auto"
            self._map("trainer.distributed_backend", "trainer.strategy", strategy)
        if self._take("checkpoint_callback.save_top_k") == -1:
            self._map("checkpoint_callback.save_top_k", "checkpoint.keep_every_n_epochs", 1)
        pretrained = self._take("model.pretrained")
        if pretrained is not None:
            self._map("model.pretrained", "backbone_weights", "imagenet" if pretrained else "none")
        overlap = self._take("loss.overlap_thresh")
        if overlap is not None:
            self._put("loss.matching.background_iou_threshold", overlap)
            self._map("loss.overlap_thresh", "loss.matching.match_iou_threshold", overlap)

    def translate_sizes(self) -> None:
        """Sizes of the images, of training and of validation."""
        size = self._take("image_size")
        if size is not None:
            side = max(size) if isinstance(size, list | tuple) else size
            self._put("data.image_size", side)
            self._put("data.validation_scale", side)
            text = f"data.image_size: {side} (a square) and data.validation_scale: {side}"
            self.notes.append(Note("changed", "image_size", text))
        if self._take("val_parameters.rotate90"):
            text = "validation shows each image once and unturned"
            self.notes.append(Note("changed", "val_parameters.rotate90", text))

    def translate_augmentation(self) -> None:
        """The crop and mirroring that were fixed, and the serialised albumentations behind them."""
        augmentation = AUGMENTATIONS["classic"].model_dump(mode="json")
        if self._take("train_parameters.rotate90"):
            augmentation["flip"]["rotate90"] = 1.0
            text = "augmentation.flip.rotate90: 1.0; points keep their names when an image is turned"
            self.notes.append(Note("changed", "train_parameters.rotate90", text))
        serialised = self._take("train_aug")
        if serialised is not None:
            augmentation["color"]["probability"] = 0.0
            augmentation["extra"] = self._list_transforms(serialised)
        self._put("augmentation", augmentation)
        self._put("ema", {"enabled": False})

    def _list_transforms(self, serialised: Any) -> list[dict[str, Any]]:
        """The transforms of a serialised Compose as `{"name": ..., "arguments": {...}}`."""
        transforms: list[dict[str, Any]] = []
        source = f"{self._source}: train_aug"
        for entry in _entries(serialised, source=source):
            arguments = {key: value for key, value in entry.items() if not key.startswith("__")}
            name = _class_name(entry, source=source)
            if name == "Normalize":
                self._translate_normalization(arguments)
            if name in _DONE_ELSEWHERE:
                self.notes.append(Note("changed", "train_aug", f"{name} is left out: {_DONE_ELSEWHERE[name]}"))
                continue
            for key, harmless in _GONE_ARGUMENTS.items():
                value = arguments.pop(key, harmless)
                if value != harmless:
                    text = f"{name}: {key}={value} is left out; albumentations no longer has it"
                    self.notes.append(Note("changed", "train_aug", text))
            transforms.append({"name": name, "arguments": arguments})
        names = ", ".join(transform["name"] for transform in transforms) or "none"
        self.notes.append(Note("mapped", "train_aug", f"augmentation.extra: {names}"))
        return transforms

    def _translate_normalization(self, arguments: Mapping[str, Any]) -> None:
        """Mean and standard deviation, which were parts of the largest value."""
        scale = float(arguments.get("max_pixel_value", 255.0))
        mean, std = ([round(scale * value, 6) for value in arguments[name]] for name in ("mean", "std"))
        self._put("network.preprocessing", {"color_order": "rgb", "mean": mean, "std": std})
        self.notes.append(Note("mapped", "train_aug Normalize", f"network.preprocessing: mean {mean}"))

    def translate_paths(self) -> None:
        """Paths of the two first configs, where the files exist; the legacy code took the environment's instead."""
        for part, short in (("train", "train"), ("validation", "val")):
            labels_key, images_key = f"{short}_annotation_path", f"{short}_image_path"
            labels, images = self._take(labels_key), self._take(images_key)
            keys = ", ".join(key for key, value in ((labels_key, labels), (images_key, images)) if value is not None)
            if labels is not None and Path(labels).is_file():
                self._put(f"data.{part}", [{"labels": labels, "images": images}])
                self.notes.append(Note("mapped", keys, f"data.{part}: {labels}"))
            elif keys:
                reason = "names no label file" if labels is None else f"no such file: {labels}"
                text = f"{reason}; data.{part} or {' and '.join(PATH_VARIABLES[part])} name the data"
                self.notes.append(Note("unused", keys, text))

    def leave_out(self) -> None:
        """The keys of _UNUSED, and all that are not known, each with a note."""
        for key in _CLASS_KEYS:
            self._take(key)
        for key, reason in _UNUSED.items():
            if self._take(key) is not None:
                self.notes.append(Note("unused", key, reason))
        for key, value in self._left.items():
            for name in value if isinstance(value, dict) else (None,):
                dotted = key if name is None else f"{key}.{name}"
                text = "not known; see retinaface train --print-config for what is"
                self.notes.append(Note("unused", dotted, text))

    def _take(self, key: str) -> Any:
        """Removes a dotted key from what is left to read and returns its value; None where there is none."""
        *parents, last = key.split(".")
        group: Any = self._left
        for parent in parents:
            group = group.get(parent, {})
            if not isinstance(group, dict):
                raise SettingsError(f"{self._source}: {parent}: expected a group of settings, got a value")
        return group.pop(last, None)

    def _put(self, key: str, value: Any) -> None:
        assign(self.values, key, value)

    def _map(self, key: str, new: str, value: Any, *, more: str = "") -> None:
        """Sets a new key, and notes it where it is called otherwise than before."""
        self._put(new, value)
        if key != new or more:
            self.notes.append(Note("mapped", key, f"{new}: {value}{more}"))


def _entries(serialised: Any, *, source: str) -> Iterator[Mapping[str, Any]]:
    """The transforms of a Compose, those of inner ones too."""
    inner = serialised.get("transform", serialised) if isinstance(serialised, Mapping) else serialised
    if not isinstance(inner, Mapping):
        raise SettingsError(f"{source}: expected a serialised albumentations pipeline, got {type(inner).__name__}")
    if "transforms" not in inner:
        yield inner
        return
    name = _class_name(inner, source=source)
    if name not in ("Compose", "Sequential"):
        raise SettingsError(
            f"{source}: {name} has no counterpart; put the transforms of it that you want into augmentation.extra"
        )
    for entry in inner["transforms"]:
        yield from _entries(entry, source=source)


def _class_name(entry: Mapping[str, Any], *, source: str) -> str:
    """The name of a transform's class: the last part of its import path."""
    full_name = entry.get("__class_fullname__")
    if not isinstance(full_name, str):
        raise SettingsError(f"{source}: expected __class_fullname__ in each transform, got other keys")
    return full_name.rsplit(".", 1)[-1]
