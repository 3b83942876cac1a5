"""The YAML configs of ternaus/retinaface, read as they are, with notes on what became of each key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retinaface_cli.errors import SettingsError
from retinaface_cli.settings.data import AUGMENTATIONS
from retinaface_cli.settings.legacy_augmentation import find_normalization, list_transforms
from retinaface_cli.settings.translation import Note, Translation

PATH_VARIABLES = {
    "train": ("TRAIN_LABEL_PATH", "TRAIN_IMAGE_PATH"),
    "validation": ("VAL_LABEL_PATH", "VAL_IMAGE_PATH"),
}
"""Environment variables that name label file and image folder where the config does not."""

_OLD_PATHS = {
    "train": ("train_annotation_path", "train_image_path"),
    "validation": ("val_annotation_path", "val_image_path"),
}
_OLD_ONLY_KEYS = frozenset({"train_parameters", "val_parameters", "prior_box", "train_aug", "checkpoint_callback"})


def is_old_config(values: Mapping[str, Any]) -> bool:
    """Whether a mapping read from YAML is a config of ternaus/retinaface."""
    model = values.get("model")
    return bool(_OLD_ONLY_KEYS & values.keys()) or (isinstance(model, Mapping) and "type" in model)


def translate_old_config(old: Mapping[str, Any], *, source: str) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Turns an old config into values for TrainSettings.

    Classes that the old file names by their import path are looked up in tables; nothing is imported.

    Returns:
        The new values (data paths may be missing, see add_paths_from_environment) and what became of each old key.

    Raises:
        SettingsError: an optimizer, scheduler, backbone or transform that has no counterpart.
    """
    translation = Translation(old, source=source)
    translation.map("seed", "seed")
    translation.map("experiment_name", "experiment_name")
    translation.map("num_workers", "data.num_workers")
    _translate_network(translation)
    _translate_optimizer(translation)
    _translate_scheduler(translation)
    _translate_trainer(translation)
    _translate_batches(translation)
    _translate_checkpoints(translation)
    _translate_loss(translation)
    _translate_augmentation(translation)
    _translate_paths(translation)
    translation.drop_rest()
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


def _class_name(translation: Translation, group: str) -> str:
    """The last part of a group's `type`, without ever importing it."""
    return str(translation.take(f"{group}.type", default="")).rsplit(".", 1)[-1]


def _translate_network(translation: Translation) -> None:
    backbones = {"resnet50": "resnet50", "mobilenet0.25": "mobilenet0.25"}
    _class_name(translation, "model")
    name = str(translation.take("model.name", default="Resnet50"))
    if name.lower() not in backbones:
        raise SettingsError(f"{translation.source}: model.name: got {name}, known: Resnet50, mobilenet0.25")
    translation.put("network.backbone", backbones[name.lower()])
    translation.note("mapped", "model.name", f"network.backbone: {backbones[name.lower()]}")
    pretrained = translation.take("model.pretrained")
    if pretrained is not None:
        translation.put("backbone_weights", "imagenet" if pretrained else "none")
        translation.note("mapped", "model.pretrained", f"backbone_weights: {'imagenet' if pretrained else 'none'}")
    translation.map("model.out_channels", "network.out_channels")
    translation.drop("model.in_channels", "follows from the backbone")
    translation.drop("model.return_layers", "follows from the backbone")
    translation.map("prior_box.min_sizes", "network.anchors.sizes")
    translation.map("prior_box.steps", "network.anchors.strides")
    translation.drop("prior_box.type", "anchors are made from network.anchors")
    translation.drop("prior_box.clip", "anchors are never clipped at the border")
    translation.drop("prior_box.image_size", "anchors follow the size of each image")
    translation.drop("test_parameters.variance", "fixed at 0.1 and 0.2, as in every checkpoint of the family")
    translation.drop("num_classes", "always two: background and face")


def _translate_optimizer(translation: Translation) -> None:
    kinds = {"SGD": "sgd", "AdamW": "adamw"}
    kind = _class_name(translation, "optimizer") or "SGD"
    if kind not in kinds:
        raise SettingsError(f"{translation.source}: optimizer.type: got {kind}, known: {', '.join(kinds)}")
    translation.put("optimizer.name", kinds[kind])
    translation.note("mapped", "optimizer.type", f"optimizer.name: {kinds[kind]}")
    for key in ("lr", "weight_decay", "momentum", "nesterov", "betas"):
        translation.map(f"optimizer.{key}", f"optimizer.{key}")


def _translate_scheduler(translation: Translation) -> None:
    kind = _class_name(translation, "scheduler")
    names = {
        "CosineAnnealingWarmRestarts": ("warm_restarts", {"T_0": "first_cycle_epochs", "T_mult": "cycle_growth"}),
        "MultiStepLR": ("multi_step", {"milestones": "milestones", "gamma": "gamma"}),
        "CosineAnnealingLR": ("cosine", {}),
        "": ("constant", {}),
    }
    if kind not in names:
        known = ", ".join(name for name in names if name)
        raise SettingsError(f"{translation.source}: scheduler.type: got {kind}, known: {known}")
    name, arguments = names[kind]
    translation.put("scheduler.name", name)
    translation.note(
        "changed", "scheduler.type", f"scheduler.name: {name}; it now moves at every step, not once an epoch"
    )
    for old, new in arguments.items():
        translation.map(f"scheduler.{old}", f"scheduler.{new}")
    lowest = translation.take("scheduler.eta_min")
    if name in ("warm_restarts", "cosine"):
        factor = float(lowest or 0) / float(translation.values["optimizer"].get("lr", 1e-3))
        translation.put("scheduler.final_factor", factor)
    translation.drop("scheduler.T_max", "the cosine always ends with the last epoch")


def _translate_trainer(translation: Translation) -> None:
    _class_name(translation, "trainer")
    gpus = translation.take("trainer.gpus")
    if gpus is not None:
        translation.put("trainer.devices", gpus if gpus else 1)
        translation.put("trainer.accelerator", "gpu" if gpus else "cpu")
        translation.note("mapped", "trainer.gpus", f"trainer.devices: {gpus if gpus else 1}; --devices overrides it")
    precision = translation.take("trainer.precision")
    half = precision in (16, "16") or translation.take("trainer.amp_level") is not None
    if half:
        translation.put("trainer.precision", "16-mixed")
        translation.note("mapped", "trainer.precision, trainer.amp_level", "trainer.precision: 16-mixed")
    backend = translation.take("trainer.distributed_backend")
    if backend is not None:
        translation.put("trainer.strategy", "ddp" if backend.startswith("ddp") else "auto")
        translation.note(
            "mapped", "trainer.distributed_backend", f"trainer.strategy: {translation.values['trainer']['strategy']}"
        )
    for old, new in {
        "max_epochs": "max_epochs",
        "num_sanity_val_steps": "num_sanity_val_steps",
        "benchmark": "benchmark",
        "deterministic": "deterministic",
        "num_nodes": "num_nodes",
        "sync_batchnorm": "sync_batchnorm",
        "accumulate_grad_batches": "accumulate_grad_batches",
        "gradient_clip_val": "gradient_clip_norm",
        "check_val_every_n_epoch": "val_every_n_epochs",
    }.items():
        translation.map(f"trainer.{old}", f"trainer.{new}")
    translation.drop("trainer.progress_bar_refresh_rate", "the bar sets its own pace")
    translation.map("sync_bn", "trainer.sync_batchnorm")


def _translate_batches(translation: Translation) -> None:
    translation.map("train_parameters.batch_size", "data.batch_size")
    translation.map("val_parameters.batch_size", "data.validation_batch_size")
    size = translation.take("image_size")
    if size is not None:
        side = max(size) if isinstance(size, list | tuple) else size
        translation.put("data.image_size", side)
        translation.put("data.validation_scale", side)
        translation.note(
            "changed", "image_size", f"data.image_size: {side} (a square) and data.validation_scale: {side}"
        )
    translation.map("val_parameters.iou_threshold", "validation.nms_iou_threshold")
    translation.drop("val_parameters.box_min_size", "was not used before either; see augmentation.min_face_size")
    if translation.take("val_parameters.rotate90"):
        translation.note("changed", "val_parameters.rotate90", "validation shows each image once and unturned")


def _translate_checkpoints(translation: Translation) -> None:
    _class_name(translation, "checkpoint_callback")
    for key in ("monitor", "mode"):
        translation.drop(
            f"checkpoint_callback.{key}", "the best epoch is that of the highest val/ap50 (checkpoint.monitor)"
        )
    if translation.take("checkpoint_callback.save_top_k") == -1:
        translation.put("checkpoint.keep_every_n_epochs", 1)
        translation.note("mapped", "checkpoint_callback.save_top_k", "checkpoint.keep_every_n_epochs: 1")
    translation.drop("checkpoint_callback.filepath", "the run's folder is runs/train/<experiment_name>, or --output")
    translation.drop("checkpoint_callback.verbose", "what is saved is always said")


def _translate_loss(translation: Translation) -> None:
    _class_name(translation, "loss")
    overlap = translation.take("loss.overlap_thresh")
    if overlap is not None:
        translation.put("loss.matching", {"match_iou_threshold": overlap, "background_iou_threshold": overlap})
        translation.note("mapped", "loss.overlap_thresh", f"loss.matching.match_iou_threshold: {overlap}")
    translation.map("loss.neg_pos", "loss.classification.negatives_per_positive")
    for key in (
        "prior_for_matching",
        "bkg_label",
        "neg_mining",
        "neg_overlap",
        "encode_target",
        "num_classes",
        "priors",
    ):
        translation.drop(f"loss.{key}", "did nothing before either")
    for key in ("localization", "classification", "landmarks"):
        translation.map(f"loss_weights.{key}", f"loss.weights.{key}")


def _translate_augmentation(translation: Translation) -> None:
    """The old crop and mirroring, and the serialised albumentations behind them."""
    turned = bool(translation.take("train_parameters.rotate90"))
    augmentation = AUGMENTATIONS["classic"].model_dump(mode="json")
    augmentation["flip"]["rotate90"] = float(turned)
    if turned:
        text = "augmentation.flip.rotate90: 1.0; points keep their names when an image is turned"
        translation.note("changed", "train_parameters.rotate90", text)
    serialised = translation.take("train_aug")
    if serialised is not None:
        transforms, notes = list_transforms(serialised, source=f"{translation.source}: train_aug")
        augmentation["color"]["probability"] = 0.0
        augmentation["extra"] = transforms
        names = ", ".join(transform["name"] for transform in transforms) or "none"
        translation.note("mapped", "train_aug", f"augmentation.extra: {names}")
        for text in notes:
            translation.note("changed", "train_aug", text)
        normalization = find_normalization(serialised)
        if normalization is not None:
            translation.put("network.preprocessing", normalization)
            translation.note("mapped", "train_aug Normalize", f"network.preprocessing: mean {normalization['mean']}")
    translation.put("augmentation", augmentation)
    translation.put("ema", {"enabled": False})
    for key in ("val_aug", "test_aug"):
        translation.drop(key, "validation images are resized (data.validation_scale) and normalised, nothing else")


def _translate_paths(translation: Translation) -> None:
    """Paths of the two older configs, where they are really there; the old code took the environment's instead."""
    for part, (labels_key, images_key) in _OLD_PATHS.items():
        labels, images = translation.take(labels_key), translation.take(images_key)
        if labels is None:
            continue
        if Path(labels).is_file():
            translation.put(f"data.{part}", [{"labels": labels, "images": images}])
            translation.note("mapped", labels_key, f"data.{part}: {labels}")
        else:
            text = f"no such file: {labels}; set {' and '.join(PATH_VARIABLES[part])}, or data.{part}"
            translation.note("unused", f"{labels_key}, {images_key}", text)
    translation.drop("weights", "was not used before either; to start from a checkpoint: -w PATH")
