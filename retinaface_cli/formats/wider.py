"""WIDER FACE: its label files, whole folders of it in any of the layouts that people have, and detections.

Labels (`wider_face_split/wider_face_{train,val}_bbx_gt.txt`): a line with the path of an image, a line with the number
of faces, and a line a face: `x y width height blur expression illumination invalid occlusion pose`. An image without
faces has the number 0 and, mostly, one line of zeros. Detections: a file an image, `<event>/<stem>.txt`, with the lines
`x y width height score`, behind which five points may stand.

In a folder are looked for, for each part (train, val, test): the images in `WIDER_<part>/images`, `<part>/images` or
`images`; the official labels `wider_face_split/wider_face_<part>_bbx_gt.txt` (or .mat); landmarks in
`<part>/label.txt`, `label.txt` or SCRFD's `labelv2.txt`. Where it has both, landmarks come from the one and attributes
from the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS, FloatArray, IntArray
from retinaface_cli.formats.images import gather_images
from retinaface_cli.formats.reader import SPLITS, Face, ReadingOptions, SourceHead, TableBuilder, choose_split
from retinaface_cli.formats.retinaface_text import has_sizes_in_header, read_label_txt, read_labelv2_txt
from retinaface_cli.formats.table import FaceTable
from retinaface_cli.formats.text import (
    Block,
    corners_of_xywh,
    decimal_boxes_xywh,
    number_rows,
    number_words,
    parse_rows,
    read_blocks,
    read_lines,
    text_file_name,
)
from retinaface_cli.formats.wider_ground_truth import WIDER_ATTRIBUTES, read_wider_mat

_LANDMARK_FILES = ("label.txt", "labelv2.txt")
_WHOLE = "all"
"""Name of the only part of a folder that does not say which part it is."""

_MAT_START = b"MATLAB 5.0"

_MAX_SHIFT = 1.5
"""Pixels by which the sides of a box may differ between two label files and still be the same face."""


class _Part(NamedTuple):
    """What was found of one part of the data set; None where it lacks."""

    official: Path | None
    landmarks: Path | None
    images: Path | None


def recognizes_wider(source: SourceHead) -> bool:
    """A WIDER folder, an official text file (path, count, rows of 10 numbers or fewer) or .mat file."""
    if source.is_folder:
        return bool(_find_parts(source.path))
    lines = source.lines
    is_text = len(lines) >= 2 and not lines[0].startswith("#") and lines[1].strip().isdecimal()
    return source.head.startswith(_MAT_START) or is_text


def read_wider(path: Path, options: ReadingOptions) -> FaceTable:
    """Reads a WIDER folder, or one of its official label files.

    Raises:
        LabelFormatError: with the place; also where a folder has several parts and none is chosen.
    """
    if not path.is_dir():
        return _read_official(path)
    parts = _find_parts(path)
    if not parts:
        raise LabelFormatError(
            f"{path}: found no WIDER FACE labels: looked for wider_face_split/wider_face_train_bbx_gt.txt (also val, "
            f".mat), train/label.txt, label.txt, labelv2.txt"
        )
    part = parts[_choose(parts, options.split, path)]
    files = tuple(file for file in (part.landmarks, part.official) if file is not None)
    return replace(_read_part(part), image_root=options.images or part.images, label_files=files)


def _choose(parts: dict[str, _Part], wanted: str | None, path: Path) -> str:
    """The wanted part; if none is named, the only one, or the only one whose images exist."""
    if list(parts) == [_WHOLE]:
        return _WHOLE
    with_images = [name for name, part in parts.items() if part.images is not None]
    if wanted is None and len(with_images) == 1:
        return with_images[0]
    return choose_split(list(parts), wanted, path)


def _read_part(part: _Part) -> FaceTable:
    """Labels of one part: landmarks, attributes, or both joined."""
    official = None if part.official is None else _read_official(part.official)
    if part.landmarks is None:
        assert official is not None  # parts are only found with one of the two
        return official
    read = read_labelv2_txt if has_sizes_in_header(SourceHead(part.landmarks).lines[0]) else read_label_txt
    table = read(part.landmarks, ReadingOptions())
    return table if official is None else _join_attributes(table, official)


def _read_official(path: Path) -> FaceTable:
    """An official label file, text or .mat."""
    is_mat = path.suffix.lower() == ".mat" or SourceHead(path).head.startswith(_MAT_START)
    return read_wider_mat(path) if is_mat else _read_text(path)


def _find_parts(folder: Path) -> dict[str, _Part]:
    """Part -> its files; a folder that holds one part without saying which is called `all`."""
    base = folder.parent if folder.name in ("wider_face_split", "ground_truth") else folder
    found = {split: _find_part(base, split) for split in SPLITS}
    parts = {split: part for split, part in found.items() if part.official or part.landmarks}
    loose = _first(base / name for name in _LANDMARK_FILES)
    if loose is None:
        return parts
    owner = next((split for split, part in parts.items() if _shares_images(loose, part.official)), None)
    if owner is not None:
        return {**parts, owner: parts[owner]._replace(landmarks=parts[owner].landmarks or loose)}
    images = base / "images"
    return parts or {_WHOLE: _Part(None, loose, images if images.is_dir() else None)}


def _find_part(base: Path, split: str) -> _Part:
    """What was found of one part."""
    name = f"wider_face_{split}"
    holders = [base / "wider_face_split", base / "ground_truth", base, base.parent / "wider_face_split"]
    is_named_so = base.name in (f"WIDER_{split}", split)
    holders = holders if is_named_so else holders[:3]
    official = [holder / f"{name}{ending}" for ending in ("_bbx_gt.txt", ".mat") for holder in holders]
    homes = [base / split, base / f"WIDER_{split}", *([base] if is_named_so else [])]
    landmarks = (home / file for home in homes for file in _LANDMARK_FILES)
    images = next((home / "images" for home in homes if (home / "images").is_dir()), None)
    return _Part(_first(official), _first(landmarks), images)


def _first(files: Iterable[Path]) -> Path | None:
    """The first file that exists."""
    return next(filter(Path.is_file, files), None)


def _shares_images(landmarks: Path, official: Path | None) -> bool:
    """Whether the first image of a landmark file is in an official file, so that both are of one part."""
    words = SourceHead(landmarks).lines[0].lstrip("#").split()
    return official is not None and bool(words) and words[0] in _read_official(official).file_names


def _read_text(path: Path) -> FaceTable:
    """Reads the official text labels; lines may have the box alone."""
    blocks = list(read_blocks(path))
    rows = [row for block in blocks for row in block.rows]
    flat, counts = parse_rows(rows, path)
    num_columns = 4 if len(counts) and counts[0] == 4 else 4 + len(WIDER_ATTRIBUTES)
    wrong = np.flatnonzero(counts != num_columns)
    if len(wrong):
        wanted = "4 box numbers" if counts[wrong[0]] < 4 else f"{num_columns} numbers"
        raise LabelFormatError(f"{path}:{rows[wrong[0]][0]}: expected {wanted}, got {counts[wrong[0]]}")
    values = flat.reshape(-1, num_columns)
    attributes = dict(zip(WIDER_ATTRIBUTES, values[:, 4:].T, strict=False))
    return FaceTable.from_boxes(
        [block.name for block in blocks],
        [len(block.rows) for block in blocks],
        corners_of_xywh(values[:, :4]),
        ignore=attributes["invalid"] == 1 if attributes else np.zeros(len(rows)),
        sources=[path] * len(blocks),
        lines=[number for number, _ in rows],
        attributes=attributes,
        boxes_are_corners=False,
    )


def _join_attributes(landmarks: FaceTable, official: FaceTable) -> FaceTable:
    """Gives the faces of one table, which are kept, the attributes and marks of another with the same images.

    Images and faces that only the other table has are added, and counted as a finding.
    """
    partner = _match(landmarks, official)  # -1 where there is none, which takes the value behind the last one
    attributes = {name: np.append(values, np.nan)[partner] for name, values in official.attributes.items()}
    ignore = landmarks.ignore | np.append(official.ignore, False)[partner]
    joined = replace(landmarks, attributes={**landmarks.attributes, **attributes}, ignore=ignore)
    added = replace(official.select_faces(~np.isin(np.arange(len(official.boxes)), partner)), findings=())
    known = set(landmarks.file_names)
    is_new = np.array([name not in known for name in added.file_names], np.bool_)
    added = added.with_finding(
        "image of the official labels alone, added", "kept", is_new, added.file_names.__getitem__
    )
    added = added.with_finding("face of the official labels alone, added", "kept", ~is_new[added.image_index])
    return gather_images(FaceTable.concatenate([joined, added]))


def _match(first: FaceTable, second: FaceTable) -> IntArray:
    """(N,) for each face of the first table the position of the same face in the second, -1 if it has none."""
    spans = dict(second.spans())
    partner = np.full(len(first.boxes), -1, np.intp)
    for name, faces in first.spans():
        if (others := spans.get(name)) is not None:
            found = _match_boxes(first.boxes[faces], second.boxes[others])
            partner[faces] = np.where(found >= 0, found + others.start, -1)
    return partner


def _match_boxes(boxes: FloatArray, others: FloatArray) -> IntArray:
    """(n,) the nearest of m other boxes, each taken once, -1 where none is near enough."""
    if boxes.shape == others.shape and np.array_equal(boxes, others):
        return np.arange(len(boxes))
    result = np.full(len(boxes), -1, np.intp)
    if not len(boxes) or not len(others):
        return result
    shifts = np.abs(boxes[:, None] - others[None]).max(axis=2)  # (n, m)
    taken = np.zeros(len(others), np.bool_)
    for i, j in zip(*np.unravel_index(np.argsort(shifts, axis=None, kind="stable"), shifts.shape), strict=True):
        if not shifts[i, j] <= _MAX_SHIFT:
            break
        if result[i] < 0 and not taken[j]:
            result[i], taken[j] = j, True
    return result


def write_wider_labels(path: Path, table: FaceTable) -> None:
    """Writes labels as `wider_face_<part>_bbx_gt.txt`; attributes that are not known are 0, ignored faces `invalid`."""
    zeros = np.zeros(len(table.boxes))
    columns = [np.nan_to_num(table.attributes.get(name, zeros)) for name in WIDER_ATTRIBUTES]
    columns[WIDER_ATTRIBUTES.index("invalid")] = table.ignore.astype(np.float64)
    values = np.concatenate([decimal_boxes_xywh(table.boxes), np.stack(columns, axis=1)], axis=1)
    rows = list(map(" ".join, number_rows(values)))
    nothing = " ".join("0" * values.shape[1])
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for name, faces in table.spans():
            file.write("\n".join([name, str(faces.stop - faces.start), *(rows[faces] or [nothing])]) + "\n")


def read_wider_detections(files: Iterable[Path], root: Path, options: ReadingOptions) -> FaceTable:
    """Reads text files of detections, of one image each or of several, in a folder that the events lie in.

    The image's name is the first line where that has a folder, else the file's place below the root with the name of
    the first line (which some scripts write without its ending). Files that are none of detections are left out.
    """
    builder = TableBuilder(options)
    for path in files:
        lines = read_lines(path)
        is_named = path.stem in lines[0]
        if not is_named and (len(lines) < 2 or not lines[1].strip().isdecimal()):
            if not any(lines):
                raise LabelFormatError(f"{path}:1: expected a name, a count and boxes; the file is empty")
            builder.note("text file that holds no detections, left out", "dropped", str(path))
            continue
        blocks = list(read_blocks(path))
        for block in blocks:
            name = _image_name(block.name, path, root) if len(blocks) == 1 else block.name
            _add_detections(builder, name, block, path)
    return builder.build(boxes_are_corners=False)


def _add_detections(builder: TableBuilder, name: str, block: Block, path: Path) -> None:
    """Adds an image with its faces."""
    flat, counts = parse_rows(block.rows, path)
    num_columns = int(counts[0]) if len(counts) else 5
    for (number, _), count in zip(block.rows, counts.tolist(), strict=True):
        if count != num_columns or count not in (5, 5 + 2 * NUM_LANDMARKS):
            raise LabelFormatError(f"{path}:{number}: expected 5 numbers (x y w h score), got {count}")
    if len(block.name.split()) >= 5 and all(word.replace(".", "").isdigit() for word in block.name.split()):
        raise LabelFormatError(f"{path}:{block.line}: expected as many faces as the count says, got more")
    builder.add_image(name, path)
    for (number, _), row in zip(block.rows, flat.reshape(-1, num_columns).tolist(), strict=True):
        x, y, width, height, score = row[:5]
        points = [None if point == (-1, -1) else point for point in zip(row[5::2], row[6::2], strict=True)]
        builder.add_face(Face((x, y, x + width, y + height), points, score, line=number))


def _image_name(written: str, path: Path, root: Path) -> str:
    """The image's path below the image root."""
    if "/" in written:
        return written
    folder = path.relative_to(root).parent.as_posix()
    name = written if PurePosixPath(written).stem == path.stem or written == path.stem else path.stem
    return name if folder == "." else f"{folder}/{name}"


def write_wider_detections(folder: Path, table: FaceTable) -> None:
    """Writes a text file an image into an empty folder, without ignored faces.

    Two images that differ in their ending alone keep it: `a.txt` and `a.png.txt`.
    """
    kept = table.select_faces(~table.ignore)
    scores = np.ones(len(kept.boxes), np.float32) if kept.scores is None else kept.scores
    boxes = number_rows(np.round(decimal_boxes_xywh(kept.boxes), 3))
    rows = [" ".join([*box, score]) for box, score in zip(boxes, number_words(scores), strict=True)]
    for name, faces in kept.spans():
        path = folder / text_file_name(name)
        if path.exists():
            path = path.with_name(PurePosixPath(name).name + ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join([name, str(faces.stop - faces.start), *rows[faces]]) + "\n"
        path.write_text(text, encoding="utf-8", errors="replace", newline="\n")
