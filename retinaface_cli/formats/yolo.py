"""YOLO: a text file an image with `class cx cy w h`, all between 0 and 1, and five points where known.

YOLO-face writes `x y` a point with -1 for missing ones; YOLO-pose writes `x y v` with v 0 missing, 1 occluded,
2 visible; detections have their confidence last. Numbers are parts of the image's width and height, so that the images
are needed. Where images, text files and class names are is told by data.yaml, or by the names of the folders.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import orjson

from retinaface_cli.errors import LabelFormatError, RetinaFaceError, shown
from retinaface_cli.faces import LANDMARK_MIRROR_ORDER, NUM_LANDMARKS
from retinaface_cli.files.listing import IMAGE_SUFFIXES, exists
from retinaface_cli.files.reading import read_yaml_file
from retinaface_cli.formats.class_names import as_class_name, choose_face_classes
from retinaface_cli.formats.image_heads import measure_file
from retinaface_cli.formats.reader import (
    SPLIT_NAMES,
    SPLITS,
    Face,
    Point,
    ReadingOptions,
    SourceHead,
    TableBuilder,
    choose_split,
    walk_files,
)
from retinaface_cli.formats.table import OCCLUDED_LANDMARKS, FaceTable
from retinaface_cli.formats.text import (
    as_name,
    landmark_columns,
    parse_number,
    read_lines,
    read_text,
    shorten,
    text_file_name,
    try_read_head,
)

_MAX_CLASSES = 1_000_000

_NUM_DECIMALS = 9
"""Pixels are rounded to so many decimals, so that a box at the border of its image is at 0 again."""

_VALUES_A_POINT = {4: 0, 4 + 2 * NUM_LANDMARKS: 2, 4 + 3 * NUM_LANDMARKS: 3}
"""Numbers behind the class -> values a landmark."""

_YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_CLASS_FILES = ("classes.txt", "obj.names", "notes.json")
_NO_LABELS = ("classes.txt", "train.txt", "val.txt", "test.txt", "readme.txt", "license.txt", "notes.txt")
_NUM_PROBED = 200
"""Text files that are looked at to tell the format: of a set with few faces the first may all be empty."""

_NUMBER = "%.15g"
"""Far finer than float32 in pixels, so that a face reads back the same."""


class _Layout(NamedTuple):
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


def recognizes_yolo(source: SourceHead) -> bool:
    """A folder with data.yaml or with text files of normalised numbers; data.yaml itself."""
    if not source.is_folder:
        is_yaml = source.path.suffix.lower() in (".yaml", ".yml")
        return is_yaml and re.search(rb"^(names|nc|train):", source.head, re.MULTILINE) is not None
    if any(file.name in _YAML_NAMES for file in source.files):
        return True
    return any(_is_yolo_file(file) for file in source.files_with(".txt")[:_NUM_PROBED])


def _is_yolo_file(path: Path, *, with_scores: bool = False) -> bool:
    """Whether the first line of a file is a class and numbers between 0 and 1."""
    words = (try_read_head(path)[:1000].decode("utf-8", errors="replace").splitlines() or [""])[0].split()
    if len(words) - 1 - with_scores not in _VALUES_A_POINT or not words[0].isdecimal():
        return False
    try:
        return all(0 <= float(word) <= 1 for word in words[1:5])
    except ValueError:
        return False


def recognizes_yolo_detections(files: Sequence[Path]) -> bool:
    """Whether text files hold a class, a box in parts of 1 and a confidence on each line."""
    return any(_is_yolo_file(file, with_scores=True) for file in files[:_NUM_PROBED])


def read_yolo(path: Path, options: ReadingOptions) -> FaceTable:
    """Reads a YOLO, YOLO-face or YOLO-pose data set: its folder, that of its text files, or data.yaml.

    Images without a text file have no faces; those whose text file is broken are left out and counted.

    Raises:
        LabelFormatError: with the place; also where no images are found, or no text file can be read.
    """
    layout = _find_layout(path, options)
    builder = TableBuilder(options)
    pairs = list(_pair(layout, builder))
    if not pairs:
        looked = ", ".join(map(str, layout.image_folders)) or "the list"
        raise LabelFormatError(
            f"{path}: found no images, without which YOLO labels have no pixels; looked in {looked}; "
            "name their folder with --images"
        )
    is_one_folder = len(layout.image_folders) == 1 and not layout.image_files
    root = layout.image_folders[0] if is_one_folder else Path(os.path.commonpath([image.parent for image, _ in pairs]))
    chosen = _chosen_classes(layout, options, path, builder)
    first_places: dict[int, str] = {}
    for image, labels in pairs:
        size = measure_file(image)
        if size in (None, (0, 0)):
            builder.note("image that cannot be read, left out", "dropped", str(image))
            continue
        name = as_name(Path(os.path.relpath(image, root)).as_posix(), str(image))
        with nullcontext() if labels is None else builder.label_file():
            objects = [] if labels is None else list(_read_objects(labels, size, layout, options))
            builder.add_image(name, labels or image, size=size)
            for category, face in objects:
                place = f"{labels}:{face.line}"
                first_places.setdefault(category, f"{category} in {place}")
                if chosen is None or category in chosen:
                    builder.add_face(face)
                else:
                    builder.note("object of another class, left out", "dropped", place)
    if chosen is None and len(first_places) > 1:
        places = " and ".join(first_places[number] for number in sorted(first_places)[:2])
        raise LabelFormatError(f"{path}: several classes ({places}) and no data.yaml; name them in one (names: [...])")
    return builder.build(boxes_are_corners=False, image_root=root)


def _pair(layout: _Layout, builder: TableBuilder) -> Iterator[tuple[Path, Path | None]]:
    """Images with their text files; text files without an image are counted."""
    used: set[Path] = set()
    images = [(image, folder) for folder in layout.image_folders for image in walk_files(folder, *IMAGE_SUFFIXES)]
    images += [(image, image.parent) for image in layout.image_files]
    for image, folder in images:
        labels = _labels_of(image, folder, layout)
        if labels is not None:
            used.add(labels)
        yield image, labels
    folders = layout.label_folders if images else ()
    for labels in (file for folder in folders for file in walk_files(folder, ".txt")):
        if labels not in used and labels.name.lower() not in _NO_LABELS and _is_yolo_file(labels):
            builder.note("text file without an image, left out", "dropped", str(labels))


def _labels_of(image: Path, folder: Path, layout: _Layout) -> Path | None:
    """The text file of an image, None where it has none."""
    candidates = [_label_file(image, folder), _label_file(image, folder.parent)]
    inner = image.relative_to(folder).with_suffix(".txt")
    candidates += [base / inner for base in layout.label_folders]
    return next((path for path in candidates if exists(path)), None)


def _label_file(image: Path, root: Path) -> Path:
    """Where the labels of an image lie: the last folder `images` of its path below root becomes `labels`."""
    parts = list(image.relative_to(root.parent).parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            swapped = root.parent.joinpath(*parts[:i], "labels", *parts[i + 1 :]).with_suffix(".txt")
            beside = image.with_suffix(".txt")
            return swapped if exists(swapped) or not exists(beside) else beside
    return image.with_suffix(".txt")


def _chosen_classes(
    layout: _Layout, options: ReadingOptions, path: Path, builder: TableBuilder
) -> frozenset[int] | None:
    """Numbers of the classes that are faces; None where nothing names the classes."""
    if not layout.class_names and not options.classes:
        return None
    names = choose_face_classes(list(layout.class_names.values()), options, f"{path}: names", builder)
    return frozenset(number for number, name in layout.class_names.items() if name in names)


def _read_objects(
    path: Path, size: tuple[int, int], layout: _Layout, options: ReadingOptions
) -> Iterator[tuple[int, Face]]:
    """The objects of a text file, each with its class."""
    height, width = size
    for number, line in enumerate(read_lines(path), 1):
        if not (words := line.split()):
            continue
        place = f"{path}:{number}"
        category, *values = (parse_number(word, place) for word in words)
        if category not in range(_MAX_CLASSES):
            raise LabelFormatError(f"{place}: expected the number of a class first, got {shorten(words[0])}")
        if options.with_scores and len(values) - 1 not in _VALUES_A_POINT:
            raise LabelFormatError(f"{place}: expected a confidence last, got {len(words)} numbers")
        score = values.pop() if options.with_scores else 0.0
        step = _VALUES_A_POINT.get(len(values))
        if step is None or (step and layout.keypoint_shape not in (None, (NUM_LANDMARKS, step))):
            wanted = "5 numbers (class cx cy w h), or with five points 15 or 20"
            raise LabelFormatError(f"{place}: expected {wanted}, got {1 + len(values)}")
        x, y, half_width, half_height = (part * side for part, side in zip(values, (width, height) * 2, strict=False))
        half_width, half_height = half_width / 2, half_height / 2
        box = [round(v, _NUM_DECIMALS) for v in (x - half_width, y - half_height, x + half_width, y + half_height)]
        given = [values[i : i + step] for i in range(4, len(values), step or 1)]
        points: list[Point | None] = [
            (round(p[0] * width, _NUM_DECIMALS), round(p[1] * height, _NUM_DECIMALS)) if _is_known(p) else None
            for p in given
        ]
        occluded = sum(2**i for i, p in enumerate(given) if p[2:] == [1])
        attributes = {OCCLUDED_LANDMARKS: occluded} if step == 3 and any(points) else {}
        yield int(category), Face(box, points, score, attributes=attributes, line=number)


def _is_known(point: Sequence[float]) -> bool:
    """Whether a point is labelled: by its flag, or by not being -1, -1."""
    return point[2] > 0 if len(point) == 3 else not (point[0] < 0 and point[1] < 0)


def _find_layout(path: Path, options: ReadingOptions) -> _Layout:
    """Looks at data.yaml and the folders.

    Raises:
        LabelFormatError: data.yaml cannot be understood; the set has several splits and none is chosen.
    """
    yaml_path = path if path.is_file() else _find_yaml(path)
    content = read_yaml_file(yaml_path, error=LabelFormatError) if yaml_path is not None else {}
    if not isinstance(content, dict):
        raise LabelFormatError(f"{yaml_path}: expected names, train and val, got {type(content).__name__}")
    root = path if path.is_dir() else path.parent
    names = _class_names(content, yaml_path) or _listed_classes(root)
    shape = _keypoint_shape(content, yaml_path)
    if options.images is not None:
        labels = [path, path / "labels"] if path.is_dir() else []
        return _Layout([options.images], [], labels, names, shape)
    if yaml_path is not None and any(content.get(split) for split in SPLITS):
        split = choose_split([split for split in SPLITS if content.get(split)], options.split, yaml_path)
        folders, files = _named_images(content, split, yaml_path)
        return _Layout(folders, files, [], names, shape)
    return _Layout(_image_folders(root, options.split), [], [root], names, shape)


def _find_yaml(folder: Path) -> Path | None:
    """The data.yaml of a folder, or of the one above for the folder of a split."""
    for base in (folder, folder.parent, folder.parent.parent):
        for name in _YAML_NAMES:
            if (base / name).is_file():
                return base / name
        others = sorted(base.glob("*.yaml")) if base == folder else []
        if len(others) == 1:
            return others[0]
    return None


def _class_names(content: Mapping[str, Any], path: Path | None) -> dict[int, str]:
    """Class number -> name, from a list or a mapping."""
    names = content.get("names", {})
    if isinstance(names, list):
        names = dict(enumerate(names))
    if isinstance(names, dict) and all(isinstance(number, int) for number in names):
        return {number: as_class_name(name) for number, name in names.items()}
    raise LabelFormatError(f"{path}: names: expected a list of class names, got {shorten(names)}")


def _listed_classes(root: Path) -> dict[int, str]:
    """Class number -> name by the lists that Label Studio, labelImg and darknet write; empty where none is found."""
    for base in (root, root.parent):
        for name in _CLASS_FILES:
            path = base / name
            if not path.is_file():
                continue
            if path.suffix != ".json":
                return dict(enumerate(line.strip() for line in read_lines(path) if line.strip()))
            try:
                entries = orjson.loads(read_text(path))["categories"]
                return {int(entry["id"]): str(entry["name"]) for entry in entries}
            except (ValueError, KeyError, TypeError):
                continue
    return {}


def _keypoint_shape(content: Mapping[str, Any], path: Path | None) -> tuple[int, int] | None:
    """The value of kpt_shape."""
    shape = content.get("kpt_shape")
    if shape is None:
        return None
    if isinstance(shape, list) and len(shape) == 2 and isinstance(shape[0], int) and shape[1] in (2, 3):
        return shape[0], shape[1]
    raise LabelFormatError(f"{path}: kpt_shape: expected [number of points, 2 or 3], got {shorten(shape)}")


def _named_images(content: Mapping[str, Any], split: str, yaml_path: Path) -> tuple[list[Path], list[Path]]:
    """Folders and single files that data.yaml names for a split."""
    named = content[split] if isinstance(content[split], list) else [content[split]]
    base = yaml_path.parent / as_class_name(content.get("path") or "")
    folders: list[Path] = []
    files: list[Path] = []
    for entry in map(as_class_name, named):
        # Roboflow writes ../train/images although the folder lies beside data.yaml
        tried = [base / entry, yaml_path.parent / entry, yaml_path.parent / entry.lstrip("./")]
        found = next((path for path in tried if exists(path)), None)
        if found is None:
            raise LabelFormatError(f"{yaml_path}: {split}: {shown(entry)}: no such folder or list of images")
        if found.is_dir():
            folders.append(found)
        else:
            files += [found.parent / line.strip() for line in read_lines(found) if line.strip()]
    return folders, files


def _image_folders(root: Path, split: str | None) -> list[Path]:
    """The folder of the images where no data.yaml is: images/<split>, <split>/images, images, or the folder."""
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


def write_yolo(folder: Path, table: FaceTable) -> None:
    """Writes data.yaml and a text file an image, with five points `x y v` if any face has landmarks.

    The images are linked (or copied, where links are not possible) into `images`, if it is known where they lie, so
    that the folder can be read by others. The format cannot mark ignored faces, which are left out.

    Args:
        folder: an empty folder.
        table: with the sizes of its images.

    Raises:
        RetinaFaceError: the size of an image is not known, or two images would share a text file.
    """
    kept = table.select_faces(~table.ignore)
    unknown = np.flatnonzero((kept.image_sizes == 0).any(axis=1))
    if len(unknown):
        name = kept.file_names[int(unknown[0])]
        raise RetinaFaceError(
            f"{name}: its size is not known, by which YOLO divides; name the images' folder with --images"
        )
    has_landmarks = bool(table.has_landmarks.any())
    rows = _rows(kept, with_landmarks=has_landmarks)
    for name, faces in kept.spans():
        path = folder / "labels" / text_file_name(name)
        if path.exists():
            raise RetinaFaceError(f"{name}: another image has the same YOLO label file {path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(rows[faces]), encoding="utf-8", newline="\n")
        if kept.image_root is not None:
            target = folder / "images" / text_file_name(name).with_name(PurePosixPath(name).name)
            _place_image(kept.image_root / name, target)
    note = "" if kept.image_root else "# put the images, or a link to them, into the folder images\n"
    shape = f"kpt_shape: [{NUM_LANDMARKS}, 3]\nflip_idx: {list(LANDMARK_MIRROR_ORDER)}\n" if has_landmarks else ""
    text = f"{note}train: images\nnc: 1\nnames: [face]\n{shape}"
    (folder / "data.yaml").write_text(text, encoding="utf-8", newline="\n")


def _rows(table: FaceTable, *, with_landmarks: bool) -> list[str]:
    """The line of each face."""
    scale = np.repeat(table.image_sizes[:, ::-1], table.num_faces, axis=0)[:, None].astype(np.float64)  # (N, 1, 2)
    corners = table.boxes.astype(np.float64).reshape(-1, 2, 2) / scale
    columns = [np.zeros((len(corners), 1)), corners.mean(axis=1), corners[:, 1] - corners[:, 0]]
    if with_landmarks:
        columns.append(landmark_columns(table, table.landmarks / scale, missing=0, visible=2))
    values = np.concatenate(columns, axis=1)
    row = " ".join(["%d", *[_NUMBER] * (values.shape[1] - 1)]) + "\n"
    return [row % tuple(numbers) for numbers in values.tolist()]


def _place_image(source: Path, target: Path) -> None:
    """Links or copies an image."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(source.resolve())
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
