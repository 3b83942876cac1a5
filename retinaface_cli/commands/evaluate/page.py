"""report.html: curves, tables, and the images with most mistakes, to be looked at in a browser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retinaface_cli.commands.evaluate.report import list_curves
from retinaface_cli.commands.evaluate.scores import Scores
from retinaface_cli.commands.evaluate.tables import make_tables
from retinaface_cli.commands.evaluate.truth import GroundTruth
from retinaface_cli.data.sources import Source
from retinaface_cli.errors import ImageReadError, count_of, shown
from retinaface_cli.evaluation.matching import FaceMatches, FloatValues, Indices
from retinaface_cli.faces import FloatArray
from retinaface_cli.formats.table import FaceTable
from retinaface_cli.visualization.pages import (
    FALSE,
    NEVER_FOUND,
    RIGHT,
    UNCOUNTED,
    Page,
    PageImage,
    PageWriter,
    describe_faces,
    link_to,
)

_MAX_SIDE = 1280
_QUALITY = 85
_MAX_CURVE_POINTS = 400
_MAX_GROUPS = 1000
_MAX_DETECTIONS = 1000
"""Of an image, best first."""

_THRESHOLDS = np.arange(101) / 100


def write_report_page(
    path: Path,
    scores: Sequence[Scores],
    truth: GroundTruth,
    *,
    names: Sequence[str],
    sources: Mapping[str, Source],
    place: Path,
) -> int:
    """Writes the page.

    Args:
        path: of the file that is written.
        scores: of all predictions; the images show the first ones.
        truth: the labels.
        names: of the images to show.
        sources: name of an image -> where it lies.
        place: where the page is to lie in the end.

    Returns:
        How many images are not embedded, and shown from their files.
    """
    facts = [("labels", truth.describe())]
    facts += [("predictions", one.candidate.describe()) for one in scores]
    page = Page(
        title=f"retinaface evaluate: {shown(Path(truth.name).name)}",
        facts=[(name, shown(text, max_length=500)) for name, text in facts],
        threshold=float(np.floor(100 * scores[0].ap50.best_f1_score) / 100),
        totals=_count_totals(scores[0].matches),
        curves=_describe_curves(scores),
        tables=[table._asdict() for table in make_tables(scores, max_groups=_MAX_GROUPS)],
        note=f"{count_of(len(names), 'image')}, those with most mistakes at the score of the best F1.",
    )
    with PageWriter(path) as writer:
        for image in _list_images(scores[0].matches, names, sources, place):
            writer.add(image)
        writer.finish(page)
    return writer.num_linked


def _describe_curves(scores: Sequence[Scores]) -> list[dict[str, Any]]:
    """The curves; predictions differ in line, subsets in color."""
    curves = list(list_curves(scores, max_points=_MAX_CURVE_POINTS, with_ap50=True))
    groups = list(dict.fromkeys(curve.predictions for curve in curves))
    subsets = list(dict.fromkeys(curve.subset for curve in curves))
    return [
        {
            "name": f"{shown(curve.predictions)}, {curve.subset}" if len(groups) > 1 else curve.subset,
            "group": groups.index(curve.predictions),
            "color": subsets.index(curve.subset),
            "average_precision": curve.average_precision,
            "recall": np.round(curve.recall, 4).tolist(),
            "precision": np.round(curve.precision, 4).tolist(),
        }
        for curve in curves
    ]


def _count_totals(matches: FaceMatches) -> dict[str, Any]:
    """Right and false detections of all images at each position of the slider."""
    counted = ~matches.faces.ignore
    is_true, is_counted = matches.judge(counted)
    scores = _rounded_scores(matches)
    return {
        "num_images": len(matches.file_names),
        "num_faces": int(counted.sum()),
        "right": _count_from(scores[is_true]),
        "false": _count_from(scores[is_counted & ~is_true]),
    }


def _count_from(scores: FloatValues) -> list[int]:
    """Numbers of scores that are at least each threshold."""
    counts: list[int] = (len(scores) - np.searchsorted(np.sort(scores), _THRESHOLDS)).tolist()
    return counts


def _list_images(
    matches: FaceMatches, names: Sequence[str], sources: Mapping[str, Source], page: Path
) -> Iterator[PageImage]:
    """The images with their faces and detections; of one whose file is missing only the boxes come."""
    labels, detections = matches.faces, matches.detections
    position = {name: index for index, name in enumerate(matches.file_names)}
    scores = _rounded_scores(matches)
    is_true, is_counted = matches.judge(~labels.ignore)
    verdicts = np.where(is_true, RIGHT, np.where(is_counted, FALSE, UNCOUNTED))
    found_at = np.full(len(labels.boxes), NEVER_FOUND)
    found_at[matches.matched[matches.is_first]] = scores[matches.is_first]
    for name in names:
        of_faces = _rows(labels, position[name])
        of_detections = _rows(detections, position[name])[:_MAX_DETECTIONS]
        boxes, found = labels.boxes[of_faces], detections.boxes[of_detections]
        size, jpeg = _read(sources.get(name))
        yield PageImage(
            name=name,
            size=size or _guess_size(np.concatenate([boxes, found])),
            link="" if jpeg is None or sources[name].shard else link_to(sources[name].path, page=page),
            jpeg=jpeg,
            faces=describe_faces(boxes, labels.landmarks[of_faces], labels.ignore[of_faces], found_at[of_faces]),
            detections=describe_faces(
                found, detections.landmarks[of_detections], scores[of_detections], verdicts[of_detections]
            ),
        )


def _rounded_scores(matches: FaceMatches) -> FloatValues:
    """(D,) scores with as many places as the page shows, so that all of its counts agree."""
    return np.round(matches.scores, 4)


def _rows(table: FaceTable, image: int) -> Indices:
    """The rows of a table that hold the faces of an image."""
    start = int(table.starts[image])
    return np.arange(start, start + int(table.num_faces[image]))


def _read(source: Source | None) -> tuple[tuple[int, int] | None, bytes | None]:
    """(height, width) of an image and the image as the page shows it; None twice where it cannot be read."""
    if source is None:
        return None, None
    from retinaface_cli.visualization.image_files import encode_image  # OpenCV is slow to import, and often not needed
    from retinaface_cli.visualization.sheets import shrink

    try:
        image = source.load_rgb()
    except ImageReadError:
        return None, None
    shrunk, _ = shrink(image, _MAX_SIDE)
    return (image.shape[0], image.shape[1]), encode_image(Path("image.jpg"), shrunk, quality=_QUALITY)


def _guess_size(boxes: FloatArray) -> tuple[int, int]:
    """(height, width) of an image that holds the boxes."""
    width, height = np.ceil(boxes[:, 2:].max(axis=0, initial=16)).astype(int).tolist()
    return height, width
