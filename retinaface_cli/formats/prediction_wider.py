"""Predictions as the WIDER FACE tools want them: `<event>/<stem>.txt` with name, count and `x y w h score` lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import ImageDetections
from retinaface_cli.files.atomic import atomic_folder
from retinaface_cli.formats.prediction_values import FloatValues, build_faces, decimal_faces, landmark_array


def read_prediction_wider(files: Sequence[Path], *, root: Path) -> list[ImageDetections]:
    """Reads text files of one image each.

    The image's name is the first line where that has a folder, else the file's place below the root with the
    name of the first line (which old scripts write without its ending).

    Args:
        files: the text files.
        root: the folder that the events lie in.

    Raises:
        LabelFormatError: with file and line; also for an image that two files name.
    """
    images: dict[str, ImageDetections] = {}
    for path in files:
        image = _read_file(path, root)
        if image.file_name in images:
            raise LabelFormatError(f"{path}:1: image {image.file_name} appears a second time")
        images[image.file_name] = image
    return list(images.values())


def write_prediction_wider(folder: Path, images: Iterable[ImageDetections]) -> None:
    """Writes a text file an image; the folder appears when all are written.

    Two images that differ in their ending alone keep it: `a.txt` and `a.png.txt`.

    Raises:
        RetinaFaceError: the folder is there and holds other things than text files.
    """
    with atomic_folder(folder, replaceable=(".txt",)) as temporary:
        write_wider_files(temporary, images)


def write_wider_files(root: Path, images: Iterable[ImageDetections]) -> None:
    """Writes a text file an image below a folder that is empty."""
    for image in images:
        _write_file(root, image)


def _write_file(root: Path, image: ImageDetections) -> None:
    """Writes one image's file."""
    name = PurePosixPath(image.file_name)
    if name.is_absolute() or ".." in name.parts:
        name = PurePosixPath(name.name)
    path = root / name.with_suffix(".txt")
    if path.exists():
        path = root / name.with_name(name.name + ".txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    boxes, scores, _ = decimal_faces(image.faces)
    rows = [
        f"{x_min} {y_min} {round(x_max - x_min, 3)} {round(y_max - y_min, 3)} {score}"
        for (x_min, y_min, x_max, y_max), score in zip(boxes, scores, strict=True)
    ]
    text = "\n".join([image.file_name, str(len(rows)), *rows]) + "\n"
    path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")


def _read_file(path: Path, root: Path) -> ImageDetections:
    """One image's file."""
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    if len(lines) < 2:
        raise LabelFormatError(f"{path}:{len(lines)}: expected a name, a count and boxes; the file is cut off or empty")
    try:
        count = int(lines[1])
    except ValueError:
        raise LabelFormatError(f"{path}:2: expected the number of faces, got {lines[1][:60]!r}") from None
    rows = [(number, line) for number, line in enumerate(lines[2:], start=3) if line.strip()]
    if count == 0 and len(rows) == 1 and not any(char in "123456789" for char in rows[0][1]):
        rows = []  # some tools write a line of zeros for an image without faces, as the label files do
    if len(rows) != count:
        raise LabelFormatError(f"{path}:2: expected {count} faces as the count says, got {len(rows)}")
    table = _table(rows, path)
    table[:, 2:4] += table[:, :2]
    faces = build_faces(table[:, :4], table[:, 4], landmark_array([()] * count, str(path)), place=str(path))
    return ImageDetections(_image_name(lines[0].strip(), path, root), faces)


def _table(rows: Sequence[tuple[int, str]], path: Path) -> FloatValues:
    """(N, 5) numbers of the numbered lines."""
    try:
        table = np.array([line.split() for _, line in rows], np.float64).reshape(len(rows), -1)
    except ValueError:
        table = np.zeros((0, 0))
    if table.shape == (len(rows), 5):
        return table
    for number, line in rows:
        try:
            found = len([float(word) for word in line.split()])
        except ValueError:
            raise LabelFormatError(f"{path}:{number}: expected x y w h score, got {line.strip()[:60]!r}") from None
        if found != 5:
            raise LabelFormatError(f"{path}:{number}: expected 5 numbers (x y w h score), got {found}")
    return np.zeros((0, 5))


def _image_name(first_line: str, path: Path, root: Path) -> str:
    """The image's path below the image root."""
    written = first_line.removeprefix("#").strip().replace("\\", "/").removeprefix("./")
    if "/" in written:
        return written
    folder = path.relative_to(root).parent.as_posix()
    name = written if PurePosixPath(written).stem == path.stem or written == path.stem else path.stem
    return name if folder == "." else f"{folder}/{name}"
