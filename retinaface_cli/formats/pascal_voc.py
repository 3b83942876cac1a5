"""Pascal VOC labels: an XML file an image, as labelImg and many others write.

Faces may have landmarks in the way that WIDER FACE was published as VOC: `<has_lm>1</has_lm><lm><x1>..<y5></lm>`.
Coordinates are taken as they stand; files that count pixels from 1 come out half a pixel to a pixel to the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, XMLParser

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.formats.class_names import choose_face_classes
from retinaface_cli.formats.face_table import FaceTable
from retinaface_cli.formats.findings import FindingCounter
from retinaface_cli.formats.label_reader import (
    IMAGE_SUFFIXES,
    FaceRecord,
    Glimpse,
    ImageRecord,
    Point,
    ReadingOptions,
    build_table,
    choose_split,
    is_there,
)
from retinaface_cli.formats.text_lines import read_bytes
from retinaface_cli.formats.values import as_name, as_size, parse_number, read_text

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_MARKS = ("truncated", "occluded", "blur")
_POSES = {"frontal": 0.0, "left": 1.0, "right": 2.0, "rear": 3.0}


def recognizes_voc(glimpse: Glimpse) -> bool:
    """An XML file with <annotation>, or a folder of XML files."""
    if glimpse.path.is_dir():
        xml = [name for name in glimpse.files if name.lower().endswith(".xml")]
        return any(b"<annotation" in Glimpse(glimpse.path / name).head for name in xml[:3])
    return b"<annotation" in glimpse.head


def read_voc(path: Path, options: ReadingOptions) -> FaceTable:
    """Reads one XML file, a folder of them, or a whole VOC data set with `Annotations`, `JPEGImages`, `ImageSets`.

    Raises:
        LabelFormatError: with file and line.
    """
    files = _find_files(path, options.split)
    if not files:
        raise LabelFormatError(f"{path}: expected .xml files, found none")
    roots = [(file, _parse(file)) for file in files]
    names = sorted({_text(item, "name", file) for file, root in roots for item in root.iter("object")})
    chosen = choose_face_classes(names, options.classes, str(path))
    counter = FindingCounter()
    base = path if path.is_dir() else path.parent
    folder = next((base / name for name in ("JPEGImages", "images") if (base / name).is_dir()), None)
    images = [_read_image(file, root, chosen, counter, folder) for file, root in roots]
    return build_table(images, format_name="voc", image_root=folder, findings=counter.findings)


def _find_files(path: Path, split: str | None) -> Sequence[Path]:
    """The XML files of a source, those of a split if it is chosen."""
    if path.is_file():
        return [path]
    files = sorted(file for file in path.rglob("*.xml") if file.is_file())
    lists = {
        file.stem: file for file in sorted(path.glob("ImageSets/Main/*.txt")) if file.stem in ("train", "val", "test")
    }
    if split is None:
        return files
    chosen = lists[choose_split(list(lists), split, path / "ImageSets/Main")]
    stems = {line.split()[0] for line in read_text(chosen, read_bytes(chosen)).splitlines() if line.strip()}
    return [file for file in files if file.stem in stems]


def _parse(path: Path) -> Element:
    """The root element of an XML file."""
    parser = XMLParser()  # expat itself bounds the growth of entities
    try:
        parser.feed(read_bytes(path))
        root = parser.close()
    except (ParseError, ValueError, LookupError) as error:
        line = getattr(error, "position", (1, 0))[0]
        raise LabelFormatError(f"{path}:{line}: not valid XML: {error}") from None
    if root.tag != "annotation":
        raise LabelFormatError(f"{path}:1: expected <annotation>, got <{root.tag[:40]}>")
    return root


def _text(element: Element, tag: str, path: Path) -> str:
    """The text of a child element."""
    value = element.findtext(tag)
    if value is None or not value.strip():
        raise LabelFormatError(f"{path}: <{element.tag}>: expected <{tag}> with text in it")
    return value.strip()


def _read_image(
    path: Path, root: Element, chosen: frozenset[str], counter: FindingCounter, folder: Path | None
) -> ImageRecord:
    """One XML file."""
    faces = []
    for number, item in enumerate(root.iter("object"), 1):
        place = f"{path}: object {number}"
        if _text(item, "name", path) in chosen:
            faces.append(_read_face(item, place))
        else:
            counter.add("object of another class, left out", "dropped", place)
    size = root.find("size")
    height, width = (0.0, 0.0) if size is None else (_number(size, tag, str(path)) for tag in ("height", "width"))
    return ImageRecord(_image_name(path, root, folder), path, faces, as_size(height, width, str(path)))


def _image_name(path: Path, root: Element, folder: Path | None) -> str:
    """The image's name: as written, unless only the file of the XML's own name is there."""
    written = root.findtext("filename")
    name = as_name(written, str(path)).split("/")[-1] if written and written.strip() else f"{path.stem}.jpg"
    if not name.lower().endswith(IMAGE_SUFFIXES):
        name += ".jpg"
    if folder is None or is_there(folder / name):
        return name
    return next((path.stem + suffix for suffix in IMAGE_SUFFIXES if (folder / (path.stem + suffix)).is_file()), name)


def _read_face(item: Element, place: str) -> FaceRecord:
    """One <object>."""
    corners = item.find("bndbox")
    if corners is None:
        raise LabelFormatError(f"{place}: expected <bndbox>, found none")
    box = [_number(corners, tag, place) for tag in _CORNERS]
    attributes = {}
    for tag in _MARKS:
        text = item.findtext(tag)
        if text and text.strip():
            attributes[tag] = parse_number(text, f"{place}: <{tag}>")
    pose = (item.findtext("pose") or "").strip().lower()
    if pose in _POSES:
        attributes["voc_pose"] = _POSES[pose]
    is_difficult = (item.findtext("difficult") or "0").strip() == "1"
    return FaceRecord(box, _read_points(item, place), ignore=is_difficult, attributes=attributes)


def _read_points(item: Element, place: str) -> list[Point | None]:
    """Five points, or none."""
    marks = item.find("lm")
    if marks is None or (item.findtext("has_lm") or "1").strip() == "0":
        return []
    tags = [(f"x{i}", f"y{i}") for i in range(1, NUM_LANDMARKS + 1)]
    return [(_number(marks, x, place), _number(marks, y, place)) for x, y in tags]


def _number(element: Element, tag: str, place: str) -> float:
    """The number in a child element."""
    return parse_number(element.findtext(tag), f"{place}: <{tag}>")
