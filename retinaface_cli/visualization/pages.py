"""Pages that show images with their faces in a browser: one HTML file that needs nothing beside it.

The page itself is page.html; here its data goes in: text as JSON, from which no name can break out, images as JPEG.
"""

from __future__ import annotations

import base64
import json
import math
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retinaface_cli.errors import shown
from retinaface_cli.faces import FloatArray

MAX_EMBEDDED_BYTES = 48 << 20
"""JPEG data after which no more is embedded; the images beyond are shown from their files."""

FALSE, RIGHT, UNCOUNTED = 0, 1, 2
"""Verdicts on a detection: on no face or on one found already; the first on its face; on an ignored face."""

NEVER_FOUND = -1.0
"""Score of a face that no detection is on."""

_IMAGES_MARK = b"<!-- images -->"
_DATA_MARK = b"<!-- data -->"
_MAX_NAME = 500


class PageImage(NamedTuple):
    """An image of a page.

    Attributes:
        name: of the image.
        size: height and width in pixels of the original, upright image.
        link: address of the image's file, relative to the page; see link_to.
        jpeg: the image as the page shows it, of any size; None: only its file is shown, if there is a link.
        faces: true faces, see describe_faces.
        detections: by falling score, see describe_faces.
    """

    name: str
    size: tuple[int, int]
    link: str
    jpeg: bytes | None
    faces: Sequence[Sequence[float | None]]
    detections: Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class Page:
    """What stands on a page beside its images.

    Attributes:
        title: of the page.
        facts: names and values below the title.
        threshold: score at which the page opens, in [0, 1].
        totals: for pages with true faces: num_images, num_faces, and `right` and `false`, the numbers of detections at
            scores of at least 0, .01, .02, ..., 1. None: there are no true faces.
        curves: name, group, color, average_precision, recall and precision of each curve.
        tables: title, columns and rows of each table.
        note: at the foot of the page.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    threshold: float
    totals: Mapping[str, Any] | None = None
    curves: Sequence[Mapping[str, Any]] = ()
    tables: Sequence[Mapping[str, Any]] = ()
    note: str = ""


class PageWriter:
    """Writes a page, one image after the other; a context manager.

    Attributes:
        num_images: added so far.
        num_linked: of them, those that are not embedded and are shown from their files.
    """

    def __init__(self, path: Path) -> None:
        """Opens the HTML file."""
        template = files(__package__).joinpath("page.html").read_bytes()
        head, _, rest = template.partition(_IMAGES_MARK)
        self._before, _, self._tail = rest.partition(_DATA_MARK)
        self._entries: list[bytes] = []
        self._room = MAX_EMBEDDED_BYTES
        self.num_linked = 0
        self._file = path.open("wb")
        self._file.write(head)

    def __enter__(self) -> PageWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def num_images(self) -> int:
        """Images on the page."""
        return len(self._entries)

    @property
    def has_room(self) -> bool:
        """Whether a further image may be embedded."""
        return self._room > 0

    def add(self, image: PageImage) -> None:
        """Adds an image; where there is no room left, its file is shown."""
        if image.jpeg is not None and self.has_room:
            self._room -= len(image.jpeg)
            script = b'<script type="text/plain" id="image-%d">' % self.num_images  # never run
            self._file.write(script + base64.b64encode(image.jpeg) + b"</script>\n")
        else:
            self.num_linked += bool(image.link)
        entry = {**image._asdict(), "name": shown(image.name, max_length=_MAX_NAME)}
        del entry["jpeg"]
        self._entries.append(to_script(entry))

    def finish(self, page: Page) -> None:
        """Writes what stands beside the images."""
        content = to_script({**page.__dict__, "num_linked": self.num_linked})
        images = b',"images":[' + b",".join(self._entries) + b"]}"
        self._file.write(self._before + content.removesuffix(b"}") + images + self._tail)


def to_script(value: Any) -> bytes:
    """The value as JSON of ASCII letters that may stand within a script of an HTML page."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode("ascii")


def link_to(target: Path, *, page: Path) -> str:
    """Address of a file as a page that lies at another path names it; relative where both are on one drive."""
    try:
        relative = os.path.relpath(os.path.realpath(target), os.path.realpath(page.parent))
    except ValueError:  # another drive on Windows
        return Path(os.path.realpath(target)).as_uri()
    return urllib.parse.quote(os.fsencode(relative.replace(os.sep, "/")))


def describe_faces(boxes: FloatArray, landmarks: FloatArray, *columns: npt.NDArray[Any]) -> list[list[float | None]]:
    """A list a face: box, the values of further columns, and x, y of its points, None where unknown.

    Args:
        boxes: (N, 4).
        landmarks: (N, 5, 2), NaN where unknown.
        columns: (N,) values each.
    """
    corners = np.round(boxes.astype(np.float64), 1).tolist()
    points = np.round(landmarks.reshape(len(landmarks), 10).astype(np.float64), 1).tolist()
    values = [column.tolist() for column in columns]
    return [
        [*box, *others, *(value if math.isfinite(value) else None for value in row)]
        for box, row, *others in zip(corners, points, *values, strict=True)
    ]
