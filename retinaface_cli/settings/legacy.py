"""The YAML configs of ternaus/retinaface as a table: which key became what, and what has no effect any more.

Classes that such a file names by their import path are looked up by their last part; nothing is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from retinaface_cli.errors import SettingsError, reason_of, shown
from retinaface_cli.settings.base import assign
from retinaface_cli.settings.data import AUGMENTATIONS

NoteKind = Literal["mapped", "changed", "unused"]


class Note(NamedTuple):
    """What became of one key of a legacy config.

    Attributes:
        kind: mapped: used under another name; changed: used, but it works differently; unused: without effect.
        key: dotted key in the legacy file.
        text: for the user to read.
    """

    kind: NoteKind
    key: str
    text: str


PATH_VARIABLES = {
    "train": ("TRAIN_LABEL_PATH", "TRAIN_IMAGE_PATH"),
    "validation": ("VAL_LABEL_PATH", "VAL_IMAGE_PATH"),
}
"""Environment variables that name label file and image folder where the config does not."""

_LEGACY_ONLY = frozenset({"train_parameters", "val_parameters", "prior_box", "train_aug", "checkpoint_callback"})

_KEPT = (
    *("seed", "experiment_name", "optimizer.lr", "optimizer.weight_decay", "optimizer.momentum", "optimizer.nesterov"),
    *("optimizer.betas", "scheduler.milestones", "scheduler.gamma", "trainer.max_epochs", "trainer.benchmark"),
    *("trainer.num_sanity_val_steps", "trainer.deterministic", "trainer.num_nodes", "trainer.sync_batchnorm"),
    "trainer.accumulate_grad_batches",
)
"""Keys that mean the same as ever."""

_RENAMED = {
    **{f"loss_weights.{key}": f"loss.weights.{key}" for key in ("localization", "classification", "landmarks")},
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
"""Keys whose value is taken over as it is, under another name."""


class _Rule(NamedTuple):
    """What becomes of a key: new keys with their values, which the note lists, and what it says more."""

    convert: Callable[[Any], Mapping[str, Any]]
    more: str = ""
    kind: NoteKind = "mapped"


def _longest(size: Any) -> Any:
    return max(size) if isinstance(size, list | tuple) else size


_CONVERTED = {
    "trainer.gpus": _Rule(
        lambda gpus: {"trainer.accelerator": "gpu" if gpus else "cpu", "trainer.devices": gpus or 1},
        "; --devices overrides it",
    ),
    "trainer.precision": _Rule(lambda value: {"trainer.precision": "16"} if str(value) == "16" else {}),
    "trainer.amp_level": _Rule(lambda value: {"trainer.precision": "16"} if value else {}),
    "trainer.distributed_backend": _Rule(
        lambda name: {"trainer.strategy": "ddp" if str(name).startswith("ddp") else "auto"}
    ),
    "checkpoint_callback.save_top_k": _Rule(lambda k: {"checkpoint.keep_every_n_epochs": 1} if k == -1 else {}),
    "model.pretrained": _Rule(lambda value: {"backbone_weights": "imagenet" if value else "none"}),
    "loss.overlap_thresh": _Rule(
        lambda value: {f"loss.matching.{key}_iou_threshold": value for key in ("background", "match")}
    ),
    "image_size": _Rule(
        lambda size: dict.fromkeys(("data.image_size", "data.validation_scale"), _longest(size)),
        "; images are squares in training alone",
        "changed",
    ),
    "val_parameters.rotate90": _Rule(lambda _: {}, "validation shows each image once and unturned", "changed"),
    "train_parameters.rotate90": _Rule(
        lambda value: {"augmentation.flip.rotate90": 1.0} if value else {},
        "; points keep their names when an image is turned",
        "changed",
    ),
}
"""Keys whose value becomes another."""

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
    try:
        translation.run()
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        raise SettingsError(
            f"{shown(source)}: {shown(translation.key)}: is of another kind than in configs of ternaus/retinaface "
            f"({reason_of(error)})"
        ) from None
    return translation.values, tuple(translation.notes)


def add_paths_from_environment(values: dict[str, Any]) -> list[Note]:
    """Fills label files and image folders that settings read from a file do not name from PATH_VARIABLES, in place."""
    notes: list[Note] = []
    data = values.setdefault("data", {})
    for part, (labels_name, images_name) in PATH_VARIABLES.items():
        if not isinstance(data, dict) or data.get(part) or not os.environ.get(labels_name):
            continue
        labels = os.environ[labels_name]
        data[part] = [{"labels": labels, "images": os.environ.get(images_name)}]
        notes.append(Note("mapped", labels_name, f"data.{part}: {labels}"))
    if data == {}:
        del values["data"]
    return notes


class _Translation:
    """New values and notes, collected while a legacy config is read key by key; `key` is the one that was read last."""

    def __init__(self, legacy: Mapping[str, Any], *, source: str) -> None:
        augmentation = AUGMENTATIONS["classic"].model_dump(mode="json")
        self.values: dict[str, Any] = {"augmentation": augmentation, "ema": {"enabled": False}}
        self.notes: list[Note] = []
        self.key = ""
        self._source = source
        self._left = {key: dict(value) if isinstance(value, Mapping) else value for key, value in legacy.items()}

    def run(self) -> None:
        """Takes all keys."""
        self._choose()
        for key in (*_KEPT, *_RENAMED):
            if (value := self._take(key)) is not None:
                self._put(_RENAMED.get(key, key), value)
                self._note("mapped", key, f"{_RENAMED[key]}: {value}" if key in _RENAMED else "")
        for key, rule in _CONVERTED.items():
            if (value := self._take(key)) is not None:
                found = rule.convert(value)
                for new, converted in found.items():
                    self._put(new, converted)
                text = ", ".join(f"{new}: {converted}" for new, converted in found.items())
                self._note(rule.kind, key, text + rule.more if found or value else "")
        self._scale_cosine()
        if (serialised := self._take("train_aug")) is not None:
            self._put("augmentation.color.probability", 0.0)
            self._put("augmentation.extra", self._list_transforms(serialised))
        self._translate_paths()
        self._leave_out()

    def _choose(self) -> None:
        """The keys of _CHOICES."""
        for key, (new, names, default) in _CHOICES.items():
            given = str(self._take(key) or default).rsplit(".", 1 if key.endswith(".type") else 0)[-1]
            by_name = {name.lower(): new_name for name, new_name in names.items()}
            if given and given.lower() not in by_name:
                raise SettingsError(f"{self._source}: {key}: got {given}, known: {', '.join(names)}")
            chosen = by_name[given.lower()] if given else "constant"
            self._put(new, chosen)
            is_scheduler = key == "scheduler.type"
            more = "; it now moves at every step, not once an epoch" if is_scheduler else ""
            self._note("changed" if is_scheduler else "mapped", key, f"{new}: {chosen}{more}")

    def _scale_cosine(self) -> None:
        """The end of a cosine, which was a learning rate and is a factor of it."""
        lowest = self._take("scheduler.eta_min")
        if self.values["scheduler"]["name"] in ("warm_restarts", "cosine"):
            factor = float(lowest or 0) / float(self.values["optimizer"].get("lr", 1e-3))
            self._put("scheduler.final_factor", factor)

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
                self._note("changed", "train_aug", f"{name} is left out: {_DONE_ELSEWHERE[name]}")
                continue
            for key, harmless in _GONE_ARGUMENTS.items():
                value = arguments.pop(key, harmless)
                if value != harmless:
                    text = f"{name}: {key}={value} is left out; albumentations no longer has it"
                    self._note("changed", "train_aug", text)
            transforms.append({"name": name, "arguments": arguments})
        names = ", ".join(transform["name"] for transform in transforms) or "none"
        self._note("mapped", "train_aug", f"augmentation.extra: {names}")
        return transforms

    def _translate_normalization(self, arguments: Mapping[str, Any]) -> None:
        """Mean and standard deviation, which were parts of the largest value."""
        scale = float(arguments.get("max_pixel_value", 255.0))
        mean, std = ([round(scale * value, 6) for value in arguments[name]] for name in ("mean", "std"))
        self._put("network.preprocessing", {"color_order": "rgb", "mean": mean, "std": std})
        self._note("mapped", "train_aug Normalize", f"network.preprocessing: mean {mean}")

    def _translate_paths(self) -> None:
        """Paths of the two first configs, where the files exist; the legacy code took the environment's instead."""
        for part, short in (("train", "train"), ("validation", "val")):
            labels_key, images_key = f"{short}_annotation_path", f"{short}_image_path"
            labels, images = self._take(labels_key), self._take(images_key)
            keys = ", ".join(key for key, value in ((labels_key, labels), (images_key, images)) if value is not None)
            if labels is not None and Path(labels).is_file():
                self._put(f"data.{part}", [{"labels": labels, "images": images}])
                self._note("mapped", keys, f"data.{part}: {labels}")
            elif keys:
                reason = "names no label file" if labels is None else f"no such file: {labels}"
                text = f"{reason}; data.{part} or {' and '.join(PATH_VARIABLES[part])} name the data"
                self._note("unused", keys, text)

    def _leave_out(self) -> None:
        """The keys of _UNUSED, and all that are not known, each with a note."""
        for key in _CLASS_KEYS:
            self._take(key)
        for key, reason in _UNUSED.items():
            if self._take(key) is not None:
                self._note("unused", key, reason)
        for key, value in self._left.items():
            for name in value if isinstance(value, dict) else (None,):
                dotted = key if name is None else f"{key}.{name}"
                text = "not known; see retinaface train --print-config for what is"
                self._note("unused", dotted, text)

    def _take(self, key: str) -> Any:
        """Removes a dotted key from what is left to read and returns its value; None where there is none."""
        self.key = key
        *parents, last = key.split(".")
        group: Any = self._left
        for parent in parents:
            group = group.get(parent, {})
            if not isinstance(group, dict):
                raise SettingsError(f"{self._source}: {parent}: expected a group of settings, got a value")
        return group.pop(last, None)

    def _put(self, key: str, value: Any) -> None:
        assign(self.values, key, value)

    def _note(self, kind: NoteKind, key: str, text: str) -> None:
        """Adds a note, unless there is nothing to say."""
        if text:
            self.notes.append(Note(kind, key, text))


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
