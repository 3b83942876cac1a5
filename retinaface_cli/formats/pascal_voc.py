"""Pascal VOC labels: an XML file an image, as labelImg and many others write.

Faces may have landmarks in the way that WIDER FACE was published as VOC: `<has_lm>1</has_lm><lm><x1>..<y5></lm>`.
Coordinates are taken as they stand; files that count pixels from 1 come out half a pixel to a pixel to the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, ParseError, XMLParser

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.files.listing import IMAGE_SUFFIXES, exists
from retinaface_cli.formats.class_names import choose_face_classes
from retinaface_cli.formats.reader import (
    SPLITS,
    Face,
    Point,
    ReadingOptions,
    TableBuilder,
    choose_split,
    is_image,
    walk_files,
)
from retinaface_cli.formats.table import FaceTable
from retinaface_cli.formats.text import as_name, as_size, parse_number, read_text, read_utf8, shorten

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_MARKS = ("truncated", "occluded", "blur")
_TRUE, _FALSE = ("1", "true", "yes", "1.0"), ("", "0", "false", "no", "0.0", "unspecified")
_POSES = {"frontal": 0.0, "left": 1.0, "right": 2.0, "rear": 3.0}


def read_voc(path: Path, options: ReadingOptions) -> FaceTable:
    """Reads one XML file, a folder of them, or a whole VOC data set with `Annotations`, `JPEGImages`, `ImageSets`.

    Broken files of a folder are left out and counted.
    """
    builder = TableBuilder()
    roots = []
    names: set[str] = set()
    for file in _find_files(path, options.split):
        with builder.label_file():
            root = _parse(file)
            if root.tag == "annotation":
                names.update([_class_of(item, file) for item in root.iter("object")])
                roots.append((file, root))
            elif path.is_dir():
                reason = f"XML file with <{root.tag[:40]}> in place of <annotation>, left out"
                builder.note(reason, "dropped", str(file))
            else:
                raise LabelFormatError(f"{file}:1: expected <annotation>, got <{root.tag[:40]}>")
    if not roots:
        builder.check_any_read()
        raise LabelFormatError(f"{path}: expected .xml files with <annotation>, found none")
    chosen = choose_face_classes(sorted(names), options, str(path), builder)
    base = path if path.is_dir() else path.parent
    bases = (base, base.parent) if base.name.lower() == "annotations" else (base,)
    folders = (inner / name for inner in bases for name in ("JPEGImages", "images"))
    images = next((folder for folder in folders if folder.is_dir()), None)
    for file, root in roots:
        with builder.label_file():
            size = root.find("size")
            height, width = (0 if size is None else _number(size, tag, str(file)) for tag in ("height", "width"))
            builder.add_image(_image_name(file, root, base, images), file, size=as_size(height, width, str(file)))
            for number, item in enumerate(root.iter("object"), 1):
                place = f"{file}: object {number}"
                if _class_of(item, file) in chosen:
                    _add_face(builder, item, place)
                else:
                    builder.note("object of another class, left out", "dropped", place)
    return builder.build(image_root=images)


def _find_files(path: Path, split: str | None) -> Sequence[Path]:
    """The XML files of a source, those of a split if it is chosen."""
    if path.is_file():
        return [path]
    files = list(walk_files(path, ".xml"))
    lists = {file.stem: file for file in sorted(path.glob("ImageSets/Main/*.txt")) if file.stem in SPLITS}
    if split is None:
        return files
    chosen = lists[choose_split(list(lists), split, path / "ImageSets/Main")]
    stems = {line.split()[0] for line in read_text(chosen).splitlines() if line.strip()}
    return [file for file in files if file.stem in stems]


def _parse(path: Path) -> Element:
    """The root element of an XML file."""
    parser = XMLParser()  # expat itself bounds the growth of entities
    try:
        parser.feed(read_utf8(path))
        return parser.close()
    except (ParseError, ValueError, LookupError) as error:
        line = getattr(error, "position", (1, 0))[0]
        raise LabelFormatError(f"{path}:{line}: not valid XML: {error}") from None


def _class_of(item: Element, path: Path) -> str:
    """The name of an object's class."""
    value = item.findtext("name")
    if value is None or not value.strip():
        raise LabelFormatError(f"{path}: <{item.tag}>: expected <name> with text in it")
    return value.strip()


def _image_name(path: Path, root: Element, base: Path, images: Path | None) -> str:
    """The image's name: as written, below the same folders as the XML file, unless it is only found elsewhere."""
    written = root.findtext("filename")
    name = as_name(written, str(path)).split("/")[-1] if written and written.strip() else f"{path.stem}.jpg"
    inner = PurePosixPath(path.parent.relative_to(base).as_posix())
    if inner.parts and inner.parts[0].lower() == "annotations":
        inner = PurePosixPath(*inner.parts[1:])
    names = [(inner / name).as_posix(), name]
    if not is_image(name):
        names += [f"{one}{suffix}" for one in names for suffix in IMAGE_SUFFIXES]
    names += [str(folder / f"{path.stem}{suffix}") for folder in (inner, PurePosixPath()) for suffix in IMAGE_SUFFIXES]
    found = next((one for one in names if exists(images / one)), None) if images is not None else None
    return found or as_name(names[0] if is_image(name) else f"{names[0]}.jpg", str(path))


def _add_face(builder: TableBuilder, item: Element, place: str) -> None:
    """Adds one <object>."""
    corners = item.find("bndbox")
    if corners is None:
        raise LabelFormatError(f"{place}: expected <bndbox>, found none")
    box = [_number(corners, tag, place) for tag in _CORNERS]
    points: list[Point | None] = []
    marks = item.find("lm")
    if marks is not None and (item.findtext("has_lm") or "1").strip() != "0":
        points += [
            (_number(marks, f"x{i}", place), _number(marks, f"y{i}", place)) for i in range(1, NUM_LANDMARKS + 1)
        ]
    found = {tag: _read_mark(item.findtext(tag), tag, place, builder) for tag in (*_MARKS, "difficult")}
    is_difficult = bool(found.pop("difficult"))
    found["voc_pose"] = _POSES.get((item.findtext("pose") or "").strip().lower())
    attributes = {tag: value for tag, value in found.items() if value is not None}
    builder.add_face(Face(box, points, ignore=is_difficult, attributes=attributes))


def _read_mark(text: str | None, tag: str, place: str, builder: TableBuilder) -> float | None:
    """An optional mark: a number or a word for yes or no; None where nothing is said."""
    word = (text or "").strip().lower()
    if word in _TRUE:
        return 1.0
    if word in _FALSE:
        return 0.0 if word not in ("", "unspecified") else None
    try:
        return parse_number(word, place)
    except LabelFormatError:
        builder.note(f"<{tag}> that is no number, taken as unknown", "corrected", f"{place}: {shorten(word)}")
        return None


def _number(element: Element, tag: str, place: str) -> float:
    """The number in a child element."""
    return parse_number(element.findtext(tag), f"{place}: <{tag}>")
