"""Predictions as JSON: images with their faces (a list, lines, or a file an image) and COCO results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import FaceDetections, ImageDetections
from retinaface_cli.formats.prediction_scan import ScannedImage, scan_image
from retinaface_cli.formats.prediction_values import (
    build_faces,
    decimal_faces,
    faces_from_annotations,
    faces_from_coco,
    mark_missing,
    relative_name,
    sized,
)


def detections_to_json(image: ImageDetections, *, file_path: str | None) -> dict[str, Any]:
    """One image as the JSON object of the predictions files.

    Args:
        image: the image; coordinates are rounded to three decimals, landmarks that are all missing become `[]`,
            single missing ones `[-1, -1]`.
        file_path: value of the key `file_path`, which is left out for None.
    """
    result: dict[str, Any] = {"file_name": image.file_name}
    if file_path is not None:
        result["file_path"] = file_path
    if image.width is not None and image.height is not None:
        result["width"], result["height"] = image.width, image.height
    result["annotations"] = [
        {"bbox": bbox, "score": score, "landmarks": landmarks}
        for bbox, score, landmarks in zip(*decimal_faces(image.faces), strict=True)
    ]
    return result


def write_prediction_json(path: Path, images: Iterable[ImageDetections]) -> None:
    """Writes a JSON list with one image to a line, so that it can be read line by line too."""
    separator = "[\n"
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for image in images:
            file.write(separator + _dump(detections_to_json(image, file_path=None)))
            separator = ",\n"
        file.write("\n]\n" if separator == ",\n" else "[]\n")


def write_prediction_jsonl(path: Path, images: Iterable[ImageDetections]) -> None:
    """Writes JSON Lines: one image to a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for image in images:
            file.write(_dump(detections_to_json(image, file_path=None)) + "\n")


def write_coco_results(path: Path, images: Iterable[ImageDetections]) -> None:
    """Writes COCO results: one face to a line, `bbox` as x, y, width, height, category 1.

    `image_id` is the number that the file is named by (`000000139.jpg` -> 139), else the name without its ending;
    `file_name` is kept beside it.
    """
    separator = "[\n"
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for image in images:
            stem = image.file_name.rpartition(".")[0] or image.file_name
            last = stem.rpartition("/")[2]
            image_id = int(last) if last.isdecimal() and last.isascii() else stem
            for (x_min, y_min, x_max, y_max), score, landmarks in zip(*decimal_faces(image.faces), strict=True):
                face: dict[str, Any] = {"image_id": image_id, "file_name": image.file_name, "category_id": 1}
                face["bbox"] = [x_min, y_min, round(x_max - x_min, 3), round(y_max - y_min, 3)]
                face["score"] = score
                if landmarks:
                    face["keypoints"] = [v for x, y in landmarks for v in (x, y, 0 if x == y == -1 else 2)]
                file.write(separator + _dump(face))
                separator = ",\n"
        file.write("\n]\n" if separator == ",\n" else "[]\n")


def read_prediction_json(path: Path) -> list[ImageDetections]:
    """Reads one file of images or of COCO results; line by line where it is laid out so.

    Raises:
        LabelFormatError: with file and line, or file and number of the entry.
    """
    images: dict[str, ImageDetections] = {}
    coco: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for place, entry in _entries(path):
        if isinstance(entry, ScannedImage):
            _add(images, _scanned_image(entry, place), place)
        elif not isinstance(entry, dict):
            raise LabelFormatError(f"{place}: expected an image object, got {_short(entry)}")
        elif "image_id" in entry and "annotations" not in entry:
            name = entry.get("file_name") or str(entry["image_id"])
            coco.setdefault(relative_name(name, place), []).append((place, entry))
        else:
            _add(images, _image(entry, place), place)
    if images and coco:
        raise LabelFormatError(f"{path}: mixes images with COCO results; expected one or the other")
    if coco:
        return [ImageDetections(name, faces_from_coco(faces)) for name, faces in coco.items()]
    return list(images.values())


def read_prediction_json_folder(files: Iterable[Path]) -> list[ImageDetections]:
    """Reads files that hold one image each (or several).

    Raises:
        LabelFormatError: with file and line; also for an image that two files name.
    """
    images: dict[str, ImageDetections] = {}
    for path in files:
        for image in read_prediction_json(path):
            _add(images, image, str(path))
    return list(images.values())


def _add(images: dict[str, ImageDetections], image: ImageDetections, place: str) -> None:
    """Files an image under its name, which must be new."""
    if image.file_name in images:
        raise LabelFormatError(f"{place}: image {image.file_name} appears a second time")
    images[image.file_name] = image


def _image(entry: dict[str, Any], place: str) -> ImageDetections:
    """One image from its JSON object."""
    annotations = entry.get("annotations")
    if not isinstance(annotations, list) or not isinstance(entry.get("file_name"), str):
        raise LabelFormatError(
            f"{place}: expected an image with file_name and annotations, got keys {', '.join(map(str, entry))[:80]}"
        )
    return _named_image(entry, faces_from_annotations(annotations, place), place)


def _scanned_image(entry: ScannedImage, place: str) -> ImageDetections:
    """One image from the numbers of its line."""
    faces = build_faces(entry.boxes, entry.scores, mark_missing(entry.landmarks), place=place)
    return _named_image(entry.head, faces, place)


def _named_image(entry: dict[str, Any], faces: FaceDetections, place: str) -> ImageDetections:
    """The image of the faces; the name is `file_path` where that ends in `file_name` and is relative."""
    name, file_path = entry.get("file_name"), entry.get("file_path")
    if isinstance(file_path, str) and not file_path.startswith("/") and file_path.endswith(f"/{name}"):
        name = file_path
    width, height = sized(entry, place)
    return ImageDetections(relative_name(name, place), faces, width, height)


def _entries(path: Path) -> Iterator[tuple[str, object]]:
    """Entries of a JSON list, of JSON Lines, or a lone object, each with its place."""
    with path.open("rb") as file:
        head = file.read(4096)
        if not head.strip():
            raise LabelFormatError(f"{path}: the file is empty")
        file.seek(0)
        lines = _lines(file)
        first = next(((text for _, text in lines if text not in (b"[", b"]"))), b"[]")
        by_line = _is_object(first)
    if by_line:
        yield from _entries_by_line(path)
    else:
        yield from _entries_of_whole(path)


def _lines(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that hold something, without the comma that parts list entries."""
    for number, line in enumerate(file, start=1):
        text = line.strip().rstrip(b",").rstrip()
        if text:
            yield number, text


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(from_json(text), dict)
    except ValueError:
        return False


def _entries_by_line(path: Path) -> Iterator[tuple[str, object]]:
    """Entries of a file with one object to a line; a list that is not closed was cut off."""
    opened = closed = False
    number = 0
    with path.open("rb") as file:
        for number, text in _lines(file):
            if text == b"[" and not opened:
                opened = True
            elif text == b"]" and opened:
                closed = True
            else:
                place = f"{path}:{number}"
                yield place, scan_image(text) or _parse(text, place)
    if opened and not closed:
        raise LabelFormatError(f"{path}:{number}: the file is cut off: expected a closing ]")


def _entries_of_whole(path: Path) -> Iterator[tuple[str, object]]:
    """Entries of a file of any layout, parsed at once."""
    content = _parse(path.read_bytes(), str(path))
    if isinstance(content, dict):
        yield str(path), content
    elif isinstance(content, list):
        for index, entry in enumerate(content):
            yield f"{path}: entry {index + 1}", entry
    else:
        raise LabelFormatError(f"{path}: expected a list of images, got {_short(content)}")


def _parse(text: bytes, place: str) -> object:
    """JSON by the fast parser; by the standard one where that refuses (lone surrogates), and for its message."""
    try:
        return from_json(text, cache_strings="keys")
    except ValueError:
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LabelFormatError(f"{place}: not valid JSON: {error}") from None


def _dump(value: object) -> str:
    """One line of JSON; escapes what UTF-8 cannot hold (names that are no Unicode on disk)."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
