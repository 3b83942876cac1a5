"""The official MATLAB labels of WIDER FACE: `wider_face_{train,val}.mat`, and the easy, medium and hard lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import BoolArray, FloatArray
from retinaface_cli.formats.mat_files import MatValue, read_mat
from retinaface_cli.formats.table import FaceTable, Float64Array
from retinaface_cli.formats.text import as_name, shorten

WIDER_ATTRIBUTES = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")
"""What stands behind the box of a face in the text labels, in this order."""

DIFFICULTIES = ("easy", "medium", "hard")
"""The three lists of the protocol."""


@dataclass(frozen=True, eq=False)
class WiderImage:
    """One image of the ground truth.

    Attributes:
        boxes_xywh: (N, 4) as labelled: left, top, width, height in whole pixels; nothing is clipped or left out.
        is_counted: difficulty -> (N,) faces that count; the others are ignored.
    """

    boxes_xywh: Float64Array
    is_counted: Mapping[str, BoolArray]


@dataclass(frozen=True, eq=False)
class _MatImage:
    """One image of a .mat file: its name, and (N, 4) boxes, attributes or the counted indices."""

    name: str
    values: Mapping[str, npt.NDArray[Any]]


def read_wider_ground_truth(folder: Path) -> dict[str, WiderImage]:
    """Reads the folder `ground_truth` of the WIDER FACE evaluation tools.

    Args:
        folder: holds wider_face_val.mat, wider_easy_val.mat, wider_medium_val.mat and wider_hard_val.mat.

    Returns:
        `<event>/<name>.jpg` -> boxes and which of them count, in the order of the files.

    Raises:
        LabelFormatError: a file is missing or cannot be understood, or the files do not fit each other.
    """
    images = _read_mat(folder / "wider_face_val.mat", ("face_bbx_list",))
    lists = {name: _read_mat(folder / f"wider_{name}_val.mat", ("gt_list",)) for name in DIFFICULTIES}
    result = {}
    for i, image in enumerate(images):
        boxes = _boxes(image, folder / "wider_face_val.mat")
        masks = {}
        for name, entries in lists.items():
            path = folder / f"wider_{name}_val.mat"
            if i >= len(entries) or entries[i].name != image.name:
                raise LabelFormatError(f"{path}: expected the images of wider_face_val.mat, lacks {image.name}")
            masks[name] = _counted(entries[i].values["gt_list"], len(boxes), f"{path}: {image.name}")
        result[image.name] = WiderImage(boxes, masks)
    return result


def read_wider_mat(path: Path) -> FaceTable:
    """Reads the official labels from a .mat file: boxes and attributes.

    Raises:
        LabelFormatError: the file cannot be understood.
    """
    fields = ("face_bbx_list", *(f"{name}_label_list" for name in WIDER_ATTRIBUTES))
    images = _read_mat(path, fields)
    boxes_list = [_boxes(image, path) for image in images]
    num_faces = np.array([len(boxes) for boxes in boxes_list], np.intp)
    boxes = np.concatenate(boxes_list) if boxes_list else np.zeros((0, 4))
    boxes[:, 2:] += boxes[:, :2]
    attributes = {name: _attribute(images, num_faces, name, path) for name in WIDER_ATTRIBUTES}
    return replace(
        FaceTable.from_boxes([image.name for image in images], num_faces, boxes),
        ignore=attributes["invalid"] == 1,
        sources=[path] * len(images),
        attributes=attributes,
        format_name="wider-mat",
        boxes_are_corners=False,
    )


def _boxes(image: _MatImage, path: Path) -> Float64Array:
    """(N, 4) left, top, width, height."""
    values = image.values["face_bbx_list"].astype(np.float64)
    if values.size == 0:
        return np.zeros((0, 4))
    if values.ndim != 2 or values.shape[1] != 4:
        raise LabelFormatError(f"{path}: {image.name}: expected boxes of 4 numbers, got an array of {values.shape}")
    return values


def _attribute(images: list[_MatImage], num_faces: npt.NDArray[np.intp], name: str, path: Path) -> FloatArray:
    """One attribute of all faces."""
    result = []
    for image, wanted in zip(images, num_faces.tolist(), strict=True):
        values = image.values[f"{name}_label_list"].ravel()
        if len(values) != wanted:
            raise LabelFormatError(f"{path}: {image.name}: expected {wanted} values of {name}, got {len(values)}")
        result.append(values.astype(np.float32))
    return np.concatenate(result) if result else np.zeros(0, np.float32)


def _counted(indices: npt.NDArray[Any], num_faces: int, place: str) -> BoolArray:
    """(N,) mask of the faces that a gt_list names by indices from 1."""
    index = indices.ravel().astype(np.float64)
    if not ((index >= 1) & (index <= num_faces)).all():
        raise LabelFormatError(f"{place}: expected face numbers from 1 to {num_faces}, got {shorten(index.tolist())}")
    mask = np.zeros(num_faces, np.bool_)
    mask[index.astype(np.intp) - 1] = True
    return mask


def _read_mat(path: Path, fields: tuple[str, ...]) -> list[_MatImage]:
    """The images of a .mat file with the wanted fields, in the file's order."""
    wanted = ("event_list", "file_list", *fields)
    content = read_mat(path, wanted)
    missing = [name for name in wanted if name not in content]
    if missing:
        found = ", ".join(content) or "none of them"
        raise LabelFormatError(f"{path}: expected WIDER FACE's {', '.join(missing)}, got {found}")
    events, files = _cells(content["event_list"], path), _cells(content["file_list"], path)
    images = []
    for i, event in enumerate(events):
        for j, file in enumerate(_cells(_pick(files, i, path), path)):
            values = {name: _numbers(_pick(_pick(content[name], i, path), j, path), path) for name in fields}
            if not isinstance(event, str) or not isinstance(file, str):
                raise LabelFormatError(
                    f"{path}: expected names in event_list and file_list, got {shorten(event)}, {shorten(file)}"
                )
            images.append(_MatImage(as_name(f"{event}/{file}.jpg", str(path)), values))
    return images


def _cells(value: MatValue, path: Path) -> list[Any]:
    """The cells of a cell array."""
    if not isinstance(value, list):
        raise LabelFormatError(f"{path}: not laid out as WIDER FACE's files are: expected a cell array")
    return value


def _pick(value: MatValue, index: int, path: Path) -> Any:
    """One cell of a cell array."""
    cells = _cells(value, path)
    if index >= len(cells):
        raise LabelFormatError(f"{path}: not laid out as WIDER FACE's files are: {len(cells)} cells are too few")
    return cells[index]


def _numbers(value: MatValue, path: Path) -> npt.NDArray[Any]:
    """A numeric array."""
    if not isinstance(value, np.ndarray):
        raise LabelFormatError(f"{path}: not laid out as WIDER FACE's files are: expected numbers")
    return value
