"""YOLO labels: a text file an image with `class cx cy w h`, all between 0 and 1, and five points where known.

YOLO-face writes `x y` a point with -1 for missing ones; YOLO-pose writes `x y v` with v 0 missing, 1 occluded,
2 visible. Numbers are parts of the image's width and height, so that the images must be there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.formats.class_names import choose_face_classes
from retinaface_cli.formats.face_table import OCCLUDED_LANDMARKS, FaceTable
from retinaface_cli.formats.findings import FindingCounter
from retinaface_cli.formats.image_heads import read_size_from_head
from retinaface_cli.formats.label_reader import (
    FaceRecord,
    Glimpse,
    ImageRecord,
    Point,
    ReadingOptions,
    build_table,
    is_there,
)
from retinaface_cli.formats.text_lines import read_bytes
from retinaface_cli.formats.values import as_name, parse_number, read_text
from retinaface_cli.formats.yolo_layout import (
    YoloLayout,
    find_yolo_layout,
    label_file,
    list_images,
    list_label_files,
)

_NUM_BOX = 5
_MAX_CLASSES = 1_000_000

_NUM_DECIMALS = 9
"""Pixels are rounded to so many decimals, so that a box at the border of its image is at 0 again."""
_VALUES_A_POINT = {_NUM_BOX: 0, _NUM_BOX + 2 * NUM_LANDMARKS: 2, _NUM_BOX + 3 * NUM_LANDMARKS: 3}
"""Numbers on a line -> values a landmark."""


def recognizes_yolo(glimpse: Glimpse) -> bool:
    """A folder with data.yaml or with text files of normalised numbers; data.yaml itself."""
    if not glimpse.path.is_dir():
        is_yaml = glimpse.path.suffix.lower() in (".yaml", ".yml")
        return is_yaml and any(line.startswith(("names:", "nc:", "train:")) for line in glimpse.lines + _keys(glimpse))
    if any(name in glimpse.files for name in ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")):
        return True
    texts = [name for name in glimpse.files if name.endswith(".txt")]
    return any(_is_yolo_line(glimpse.path / name) for name in texts[:5] + texts[-5:])


def _keys(glimpse: Glimpse) -> list[str]:
    return glimpse.head.decode("utf-8", errors="replace").splitlines()


def _is_yolo_line(path: Path) -> bool:
    """Whether the first line of a file is a class and numbers between 0 and 1."""
    words = (Glimpse(path).lines or [""])[0].split()
    if len(words) not in _VALUES_A_POINT or not words[0].isdecimal():
        return False
    try:
        return all(0 <= float(word) <= 1 for word in words[1:5])
    except ValueError:
        return False


def read_yolo(path: Path, options: ReadingOptions) -> FaceTable:
    """Reads a YOLO, YOLO-face or YOLO-pose data set; images without a text file have no faces.

    Args:
        path: the folder of the data set, of its text files, or data.yaml.
        options: split, folder of the images, classes.

    Raises:
        LabelFormatError: with the place; also where no images are found.
    """
    layout = find_yolo_layout(path, options)
    counter = FindingCounter()
    pairs = _pair(layout, counter)
    if not pairs:
        looked = ", ".join(str(folder) for folder in layout.image_folders)
        raise LabelFormatError(
            f"{path}: found no images, without which YOLO labels have no pixels; looked in {looked or 'the list'}; "
            "name their folder with --images"
        )
    root = _common_folder([image for image, _ in pairs], layout)
    chosen = _chosen_classes(layout, options, path)
    records = []
    first_places: dict[int, str] = {}
    for image, labels in pairs:
        size = _size(image)
        if size is None:
            counter.add("image that cannot be read, left out", "dropped", str(image))
            continue
        faces = []
        for category, face in _read_objects(labels, size, layout) if labels is not None else ():
            first_places.setdefault(category, f"{category} in {labels}:{face.line}")
            if chosen is None or category in chosen:
                faces.append(face)
            else:
                counter.add("object of another class, left out", "dropped", f"{labels}:{face.line}")
        name = as_name(Path(os.path.relpath(image, root)).as_posix(), str(image))
        records.append(ImageRecord(name, labels or image, faces, size))
    if chosen is None and len(first_places) > 1:
        places = " and ".join(first_places[number] for number in sorted(first_places)[:2])
        raise LabelFormatError(f"{path}: several classes ({places}) and no data.yaml; name them in one (names: [...])")
    return build_table(records, format_name="yolo", boxes_are_corners=False, image_root=root, findings=counter.findings)


def _pair(layout: YoloLayout, counter: FindingCounter) -> list[tuple[Path, Path | None]]:
    """Images with their text files; text files without an image are counted."""
    pairs: list[tuple[Path, Path | None]] = []
    for folder in layout.image_folders:
        for image in list_images(folder):
            pairs.append((image, _labels_of(image, folder, layout)))
    for image in layout.image_files:
        pairs.append((image, _labels_of(image, image.parent, layout)))
    used = {labels for _, labels in pairs if labels is not None}
    folders = layout.label_folders if pairs else ()
    for labels in (file for folder in folders for file in list_label_files(folder)):
        if labels not in used and _is_yolo_line(labels):
            counter.add("text file without an image, left out", "dropped", str(labels))
    return pairs


def _labels_of(image: Path, folder: Path, layout: YoloLayout) -> Path | None:
    """The text file of an image, None where it has none."""
    candidates = [label_file(image, folder), label_file(image, folder.parent)]
    inner = image.relative_to(folder).with_suffix(".txt")
    candidates += [base / inner for base in layout.label_folders]
    return next((path for path in candidates if is_there(path)), None)


def _common_folder(images: Sequence[Path], layout: YoloLayout) -> Path:
    """The folder that names are relative to."""
    if len(layout.image_folders) == 1 and not layout.image_files:
        return layout.image_folders[0]
    return Path(os.path.commonpath([image.parent for image in images]))


def _chosen_classes(layout: YoloLayout, options: ReadingOptions, path: Path) -> frozenset[int] | None:
    """Numbers of the classes that are faces; None where nothing names the classes."""
    if not layout.class_names and not options.classes:
        return None
    names = choose_face_classes(list(layout.class_names.values()), options.classes, f"{path}: names")
    return frozenset(number for number, name in layout.class_names.items() if name in names)


def _size(image: Path) -> tuple[int, int] | None:
    """(height, width), None if the file is no image."""
    try:
        return read_size_from_head(image)
    except (OSError, ValueError):  # missing, or of a name that no file can have
        return None


def _read_objects(path: Path, size: tuple[int, int], layout: YoloLayout) -> list[tuple[int, FaceRecord]]:
    """Class and box of every line of a text file."""
    objects = []
    for number, line in enumerate(read_text(path, read_bytes(path)).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        place = f"{path}:{number}"
        values = [parse_number(word, place) for word in words]
        if values[0] not in range(_MAX_CLASSES):
            raise LabelFormatError(f"{place}: expected the number of a class first, got {words[0][:40]!r}")
        objects.append((int(values[0]), _read_face(values, size, layout, place=place, line=number)))
    return objects


def _read_face(
    values: Sequence[float], size: tuple[int, int], layout: YoloLayout, *, place: str, line: int
) -> FaceRecord:
    """One line of numbers."""
    step = _VALUES_A_POINT.get(len(values))
    if step is None or (step and layout.keypoint_shape not in (None, (NUM_LANDMARKS, step))):
        wanted = "5 numbers (class cx cy w h), or with five points 15 or 20"
        raise LabelFormatError(f"{place}: expected {wanted}, got {len(values)}")
    height, width = size
    x, y, box_width, box_height = values[1] * width, values[2] * height, values[3] * width, values[4] * height
    corners = (x - box_width / 2, y - box_height / 2, x + box_width / 2, y + box_height / 2)
    box = [round(value, _NUM_DECIMALS) for value in corners]
    points: list[Point | None] = []
    attributes: Mapping[str, float] = {}
    if step:
        triples = [values[i : i + step] for i in range(_NUM_BOX, len(values), step)]
        scaled = [(round(p[0] * width, _NUM_DECIMALS), round(p[1] * height, _NUM_DECIMALS)) for p in triples]
        points = [point if _is_there(p) else None for point, p in zip(scaled, triples, strict=True)]
        if step == 3 and any(points):
            occluded = sum(2**i for i, p in enumerate(triples) if p[2] == 1)
            attributes = {OCCLUDED_LANDMARKS: occluded}
    return FaceRecord(box, points, attributes=attributes, line=line)


def _is_there(point: Sequence[float]) -> bool:
    """Whether a point is labelled: by its flag, or by not being -1, -1."""
    return point[2] > 0 if len(point) == 3 else not (point[0] < 0 and point[1] < 0)
