"""gallery.html: the images of a run with their faces, to be looked at in a browser."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from rich.console import Console

from retinaface_cli.commands.console import say, track
from retinaface_cli.data.pixel_budget import PixelBudget, promised_pixels
from retinaface_cli.data.preprocessing import TestScale, decode_at_scale, read_image_bytes
from retinaface_cli.data.sources import Source
from retinaface_cli.detection.results import Results
from retinaface_cli.errors import ImageReadError, count_of, shown
from retinaface_cli.faces import ImageDetections
from retinaface_cli.formats import FaceTable
from retinaface_cli.process import num_cores
from retinaface_cli.visualization.image_files import encode_image
from retinaface_cli.visualization.pages import RIGHT, Page, PageImage, PageWriter, describe_faces, link_to

GALLERY_FILE = "gallery.html"

MAX_IMAGES = 10_000
"""Images of a gallery; a browser would need too much memory for more."""

_SIDE = 480
_QUALITY = 80
_MAX_READERS = 8
_CHUNK = 64
"""Images that are read together."""


def write_gallery(results: Results, table: FaceTable, sources: Sequence[Source], console: Console) -> None:
    """Writes the page into the output folder, and says what it leaves out.

    Args:
        results: of the run.
        table: the detections of all images and frames.
        sources: images and videos of the run.
        console: for progress and notes.
    """
    settings, place = results.settings, results.folder.root / GALLERY_FILE
    paths = {source.name: source.path for source in sources if not source.is_video}
    num_images = sum(name in paths for name in table.file_names)
    images = islice((one for one in table.detection_images() if one.file_name in paths), MAX_IMAGES)
    left_out = [
        f"the first {MAX_IMAGES:,} of {num_images:,} images" if num_images > MAX_IMAGES else "",
        f"no frames of {count_of(num, 'video')}" if (num := sum(source.is_video for source in sources)) else "",
    ]
    note = "; ".join(filter(None, left_out))
    page = Page(
        title=f"retinaface infer: {shown(results.folder.root.name)}",
        facts=[
            ("images", f"{num_images:,}, longest side in the network {settings.test_scale} px"),
            ("weights", shown(settings.weights)),
            ("scores", f"above {settings.score_threshold:g}"),
        ],
        threshold=math.floor(100 * settings.score_threshold) / 100,
        note=f"This page shows {note}." if note else "",
    )
    with results.folder.new_file(place) as temporary, PageWriter(temporary) as writer:
        for image in track(console, "gallery", _read(images, paths, place, writer), total=min(num_images, MAX_IMAGES)):
            writer.add(image)
        writer.finish(page)
    if writer.num_linked:
        say(console, f"{GALLERY_FILE} shows {writer.num_linked:,} images from their files, for want of room")
    if note:
        say(console, f"{GALLERY_FILE} shows {note}")


def _read(
    images: Iterator[ImageDetections], paths: dict[str, Path], place: Path, writer: PageWriter
) -> Iterator[PageImage]:
    """The images for the page, read by several threads as long as it has room."""
    make_thumbnail = partial(_make_thumbnail, PixelBudget())
    with ThreadPoolExecutor(min(num_cores(), _MAX_READERS)) as pool:
        while chunk := list(islice(images, _CHUNK)):
            files = [paths[one.file_name] for one in chunk]
            jpegs = pool.map(make_thumbnail, files) if writer.has_room else [None] * len(chunk)
            for one, path, jpeg in zip(chunk, files, jpegs, strict=True):
                yield PageImage(
                    name=one.file_name,
                    size=(one.height or 1, one.width or 1),
                    link=link_to(path, page=place),
                    jpeg=jpeg,
                    faces=(),
                    detections=describe_faces(
                        one.faces.boxes,
                        one.faces.landmarks,
                        np.round(one.faces.scores.astype(np.float64), 4),
                        np.full(len(one.faces), RIGHT),
                    ),
                )


def _make_thumbnail(budget: PixelBudget, path: Path) -> bytes | None:
    """The image as a small JPEG; None if it cannot be read any more."""
    try:
        data = read_image_bytes(path)
        with budget.hold(promised_pixels(Source(path, path.name), data)):
            image = decode_at_scale(data, TestScale(long_side=_SIDE, upscale=False), name=shown(path)).image
    except ImageReadError:
        return None
    return encode_image(path.with_suffix(".jpg"), image, quality=_QUALITY)
