"""A whole WIDER FACE folder, in any of the layouts that people have, read as one set of labels.

Looked for, for each part (train, val, test): the images in `WIDER_<part>/images`, `<part>/images` or `images`; the
official labels `wider_face_split/wider_face_<part>_bbx_gt.txt` (or .mat); landmarks in `<part>/label.txt`, `label.txt`
or SCRFD's `labelv2.txt`. Where both are there, landmarks come from the one and attributes from the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.face_table import FaceTable
from retinaface_cli.formats.label_reader import SPLITS, Glimpse, ReadingOptions, choose_split
from retinaface_cli.formats.retinaface_text import has_sizes_in_header, read_label_txt, read_labelv2_txt
from retinaface_cli.formats.wider_ground_truth import read_wider_mat
from retinaface_cli.formats.wider_join import join_attributes
from retinaface_cli.formats.wider_text import read_wider_text

_LANDMARK_FILES = ("label.txt", "labelv2.txt")
_WHOLE = "all"
"""Name of the only part of a folder that does not say which part it is."""

_MAT_START = b"MATLAB 5.0"


@dataclass(frozen=True)
class _Part:
    """What was found of one part of the data set; None where it is not there."""

    official: Path | None
    landmarks: Path | None
    images: Path | None


def recognizes_wider(glimpse: Glimpse) -> bool:
    """A WIDER folder, an official text file (path, count, rows of 10 numbers or fewer) or .mat file."""
    if glimpse.path.is_dir():
        return bool(_find_parts(glimpse.path))
    lines = glimpse.lines
    is_text = len(lines) >= 2 and not lines[0].startswith("#") and lines[1].strip().isdecimal()
    return glimpse.head.startswith(_MAT_START) or is_text


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
    return dataclasses.replace(_read_part(part), image_root=options.images or part.images, label_files=files)


def _choose(parts: dict[str, _Part], wanted: str | None, path: Path) -> str:
    """The wanted part; if none is named, the only one, or the only one whose images are there."""
    if list(parts) == [_WHOLE]:
        return _WHOLE
    with_images = [name for name, part in parts.items() if part.images is not None]
    if wanted is None and len(with_images) == 1:
        return with_images[0]
    return choose_split(list(parts), wanted, path)


def _read_part(part: _Part) -> FaceTable:
    """Labels of one part: landmarks, attributes, or both joined."""
    if part.landmarks is None:
        if part.official is None:  # parts are only found with one of the two
            raise AssertionError
        return _read_official(part.official)
    first = (Glimpse(part.landmarks).lines or [""])[0]
    read = read_labelv2_txt if has_sizes_in_header(first) else read_label_txt
    table = read(part.landmarks)
    return table if part.official is None else join_attributes(table, _read_official(part.official), part.official)


def _read_official(path: Path) -> FaceTable:
    """An official label file, text or .mat."""
    is_mat = path.suffix.lower() == ".mat" or Glimpse(path).head.startswith(_MAT_START)
    return read_wider_mat(path) if is_mat else read_wider_text(path)


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
        return {**parts, owner: dataclasses.replace(parts[owner], landmarks=parts[owner].landmarks or loose)}
    images = _first([base / "images"], folders=True)
    return parts or {_WHOLE: _Part(None, loose, images)}


def _find_part(base: Path, split: str) -> _Part:
    """What there is of one part."""
    name = f"wider_face_{split}"
    holders = [base / "wider_face_split", base / "ground_truth", base, base.parent / "wider_face_split"]
    is_named_so = base.name in (f"WIDER_{split}", split)
    holders = holders if is_named_so else holders[:3]
    texts = (holder / f"{name}_bbx_gt.txt" for holder in holders)
    mats = (holder / f"{name}.mat" for holder in holders)
    homes = [base / split, base / f"WIDER_{split}", *([base] if is_named_so else [])]
    landmarks = (home / file for home in homes for file in _LANDMARK_FILES)
    images = [home / "images" for home in homes]
    official = _first(texts) or _first(mats)
    return _Part(official, _first(landmarks), _first(images, folders=True))


def _first(paths: Iterable[Path], *, folders: bool = False) -> Path | None:
    """The first path that is there."""
    return next((path for path in paths if (path.is_dir() if folders else path.is_file())), None)


def _shares_images(landmarks: Path, official: Path | None) -> bool:
    """Whether the first image of a landmark file is in an official file, so that both are of one part."""
    if official is None:
        return False
    words = (Glimpse(landmarks).lines or [""])[0].lstrip("#").split()
    name = words[0] if words else ""
    return bool(name) and name in set(_read_official(official).file_names)
