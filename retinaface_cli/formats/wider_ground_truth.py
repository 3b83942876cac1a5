"""The official MATLAB labels of WIDER FACE: `wider_face_{train,val}.mat`, and the easy, medium and hard lists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import BoolArray, FloatArray
from retinaface_cli.formats.mat_files import MatValue, read_mat
from retinaface_cli.formats.table import FaceTable, Float64Array
from retinaface_cli.formats.text import as_name, corners_of_xywh, shorten

WIDER_ATTRIBUTES = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")
"""What stands behind the box of a face in the text labels, in this order."""

DIFFICULTIES = ("easy", "medium", "hard")
"""The three lists of the protocol."""


class WiderImage(NamedTuple):
    """One image of the ground truth.

    Attributes:
        boxes: (N, 4) x_min, y_min, x_max, y_max as labelled, in whole pixels; nothing is clipped or left out.
        is_counted: difficulty -> (N,) faces that count; the others are ignored.
    """

    boxes: Float64Array
    is_counted: Mapping[str, BoolArray]


class _MatImage(NamedTuple):
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
        result[image.name] = WiderImage(corners_of_xywh(boxes), masks)
    return result


def read_wider_mat(path: Path) -> FaceTable:
    """Reads the official labels from a .mat file: boxes and attributes.

    Raises:
        LabelFormatError: the file cannot be understood.
    """
    images = _read_mat(path, ("face_bbx_list", *(f"{name}_label_list" for name in WIDER_ATTRIBUTES)))
    boxes = [_boxes(image, path) for image in images]
    num_faces = list(map(len, boxes))
    attributes = {name: _attribute(images, num_faces, name, path) for name in WIDER_ATTRIBUTES}
    return FaceTable.from_boxes(
        [image.name for image in images],
        num_faces,
        corners_of_xywh(np.concatenate([*boxes, np.zeros((0, 4))])),
        ignore=attributes["invalid"] == 1,
        sources=[path] * len(images),
        attributes=attributes,
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


def _attribute(images: list[_MatImage], num_faces: list[int], name: str, path: Path) -> FloatArray:
    """One attribute of all faces."""
    result = [np.zeros(0, np.float32)]
    for image, wanted in zip(images, num_faces, strict=True):
        values = image.values[f"{name}_label_list"].ravel()
        if len(values) != wanted:
            raise LabelFormatError(f"{path}: {image.name}: expected {wanted} values of {name}, got {len(values)}")
        result.append(values.astype(np.float32))
    return np.concatenate(result)


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
    images = []
    for i in range(len(_pick(content["event_list"], path))):
        event = _pick(content["event_list"], path, i)
        for j in range(len(_pick(content["file_list"], path, i, kind=list))):
            file = _pick(content["file_list"], path, i, j)
            if not isinstance(event, str) or not isinstance(file, str):
                got = f"{shorten(event)}, {shorten(file)}"
                raise LabelFormatError(f"{path}: expected names in event_list and file_list, got {got}")
            values = {name: _pick(content[name], path, i, j, kind=np.ndarray) for name in fields}
            images.append(_MatImage(as_name(f"{event}/{file}.jpg", str(path)), values))
    return images


def _pick(value: MatValue, path: Path, *indices: int, kind: type | None = None) -> Any:
    """One cell of nested cell arrays, or with no index the cells; `kind` is what it must be."""
    place = f"{path}: not laid out as WIDER FACE's files are"
    kind = kind if indices else list
    for index in indices:
        if not isinstance(value, list):
            raise LabelFormatError(f"{place}: expected a cell array")
        if index >= len(value):
            raise LabelFormatError(f"{place}: {len(value)} cells are too few")
        value = value[index]
    if kind is not None and not isinstance(value, kind):
        raise LabelFormatError(f"{place}: expected {'a cell array' if kind is list else 'numbers'}")
    return value
