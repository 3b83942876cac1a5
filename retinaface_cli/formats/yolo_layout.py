"""Where the images, text files and class names of a YOLO data set are: by data.yaml, or by the folders' names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.label_reader import (
    IMAGE_SUFFIXES,
    SPLIT_NAMES,
    SPLITS,
    ReadingOptions,
    choose_split,
    is_there,
)
from retinaface_cli.formats.text_lines import read_bytes
from retinaface_cli.formats.values import read_text

_NO_LABELS = ("classes.txt", "obj.names", "train.txt", "val.txt", "test.txt", "readme.txt", "license.txt", "notes.txt")


@dataclass(frozen=True)
class YoloLayout:
    """A YOLO data set, found on the disk.

    Attributes:
        image_folders: folders of images (with all below).
        image_files: single images, where data.yaml names a list of them.
        label_folders: folders of text files without images, to tell what is missing.
        class_names: class number -> name; empty where nothing says.
        keypoint_shape: number of keypoints and of values each; None where nothing says.
    """

    image_folders: Sequence[Path]
    image_files: Sequence[Path]
    label_folders: Sequence[Path]
    class_names: Mapping[int, str]
    keypoint_shape: tuple[int, int] | None


def find_yolo_layout(path: Path, options: ReadingOptions) -> YoloLayout:
    """Looks at data.yaml and the folders.

    Args:
        path: the folder of the data set, of its text files, or data.yaml itself.
        options: split and folder of the images.

    Raises:
        LabelFormatError: data.yaml cannot be understood; the set has several splits and none is chosen.
    """
    yaml_path = path if path.is_file() else _find_yaml(path)
    content = _read_yaml(yaml_path) if yaml_path is not None else {}
    names = _class_names(content, yaml_path)
    shape = _keypoint_shape(content, yaml_path)
    if options.images is not None:
        labels = [path, path / "labels"] if path.is_dir() else []
        return YoloLayout([options.images], [], labels, names, shape)
    if yaml_path is not None and any(content.get(split) for split in SPLITS):
        split = choose_split([split for split in SPLITS if content.get(split)], options.split, yaml_path)
        folders, files = _named_images(content, split, yaml_path)
        return YoloLayout(folders, files, [], names, shape)
    root = path if path.is_dir() else path.parent
    folders = _image_folders(root, options.split)
    return YoloLayout(folders, [], [root], names, shape)


def label_file(image: Path, root: Path) -> Path:
    """Where the labels of an image lie: the last folder `images` of its path below root becomes `labels`."""
    parts = list(image.relative_to(root.parent).parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            swapped = root.parent.joinpath(*parts[:i], "labels", *parts[i + 1 :]).with_suffix(".txt")
            beside = image.with_suffix(".txt")
            return swapped if is_there(swapped) or not is_there(beside) else beside
    return image.with_suffix(".txt")


def list_images(folder: Path) -> Iterator[Path]:
    """All images of a folder and those below it, sorted."""
    for inner, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield Path(inner, name)


def list_label_files(folder: Path) -> Iterator[Path]:
    """All text files of a folder and those below it that may hold labels, sorted."""
    for inner, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(".txt") and name.lower() not in _NO_LABELS and not name.startswith("."):
                yield Path(inner, name)


def _find_yaml(folder: Path) -> Path | None:
    """The data.yaml of a folder, or of the one above for the folder of a split."""
    for base in (folder, folder.parent, folder.parent.parent):
        for name in ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml"):
            if (base / name).is_file():
                return base / name
        others = sorted(base.glob("*.yaml")) if base == folder else []
        if len(others) == 1:
            return others[0]
    return None


def _read_yaml(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file."""
    try:
        content = yaml.safe_load(read_text(path, read_bytes(path)))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise LabelFormatError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise LabelFormatError(f"{path}: expected names, train and val, got {type(content).__name__}")
    return content


def _class_names(content: Mapping[str, Any], path: Path | None) -> dict[int, str]:
    """Class number -> name, from a list or a mapping."""
    names = content.get("names", {})
    if isinstance(names, list):
        return {i: str(name) for i, name in enumerate(names)}
    if isinstance(names, dict) and all(isinstance(number, int) for number in names):
        return {number: str(name) for number, name in names.items()}
    raise LabelFormatError(f"{path}: names: expected a list of class names, got {str(names)[:60]!r}")


def _keypoint_shape(content: Mapping[str, Any], path: Path | None) -> tuple[int, int] | None:
    """The value of kpt_shape."""
    shape = content.get("kpt_shape")
    if shape is None:
        return None
    if isinstance(shape, list) and len(shape) == 2 and isinstance(shape[0], int) and shape[1] in (2, 3):
        return shape[0], shape[1]
    raise LabelFormatError(f"{path}: kpt_shape: expected [number of points, 2 or 3], got {str(shape)[:60]!r}")


def _named_images(content: Mapping[str, Any], split: str, yaml_path: Path) -> tuple[list[Path], list[Path]]:
    """Folders and single files that data.yaml names for a split."""
    named = content[split] if isinstance(content[split], list) else [content[split]]
    base = yaml_path.parent / str(content.get("path") or "")
    folders: list[Path] = []
    files: list[Path] = []
    for entry in named:
        # Roboflow writes ../train/images although the folder lies beside data.yaml
        tried = [base / str(entry), yaml_path.parent / str(entry), yaml_path.parent / str(entry).lstrip("./")]
        found = next((path for path in tried if is_there(path)), None)
        if found is None:
            raise LabelFormatError(f"{yaml_path}: {split}: {entry}: no such folder or list of images")
        if found.is_dir():
            folders.append(found)
        else:
            lines = read_text(found, read_bytes(found)).splitlines()
            files += [found.parent / line.strip() for line in lines if line.strip()]
    return folders, files


def _image_folders(root: Path, split: str | None) -> list[Path]:
    """The folder of the images where there is no data.yaml: images/<split>, <split>/images, images, or the folder."""
    found = {}
    for name, folders in SPLIT_NAMES.items():
        candidates = [root / inner for folder in folders for inner in (f"images/{folder}", f"{folder}/images", folder)]
        first = next((folder for folder in candidates if folder.is_dir()), None)
        if first is not None:
            found[name] = first
    if found:
        return [found[choose_split(list(found), split, root)]]
    if root.name == "labels" and (root.parent / "images").is_dir():
        return [root.parent / "images"]
    if root.parent.name == "labels" and (root.parent.parent / "images" / root.name).is_dir():
        return [root.parent.parent / "images" / root.name]
    return [root / "images" if (root / "images").is_dir() else root]
