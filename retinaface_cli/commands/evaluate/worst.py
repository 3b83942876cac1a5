"""The images with most mistakes, drawn on a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from retinaface_cli.commands.evaluate.scores import ImageMistakes, Scores
from retinaface_cli.data.sources import Source
from retinaface_cli.errors import ImageReadError, shown
from retinaface_cli.evaluation.matching import FaceMatches, scores_of
from retinaface_cli.faces import BoolArray, FaceDetections, RgbImage
from retinaface_cli.visualization.drawing import LABEL_STYLE, PREDICTION_STYLE, draw_faces
from retinaface_cli.visualization.sheets import contact_sheet, scale_faces, shrink

RIGHT_STYLE = replace(PREDICTION_STYLE, color=(70, 226, 120), has_landmarks=False, has_scores=False)
MISSED_STYLE = replace(LABEL_STYLE, has_landmarks=False)
FALSE_STYLE = replace(PREDICTION_STYLE, has_landmarks=False)

_CELL_WIDTH = 800
_NUM_COLUMNS = 3


def draw_worst(
    scores: Scores, mistakes: Sequence[ImageMistakes], sources: Mapping[str, Source]
) -> tuple[RgbImage | None, list[str]]:
    """Draws missed faces blue, false detections orange with their scores, right ones green, ignored faces dashed.

    Args:
        scores: with the detections; those below the score of the best F1 are not drawn.
        mistakes: the images to draw.
        sources: name of an image -> where it lies.

    Returns:
        The sheet, None where no image could be drawn; and why images could not be read.
    """
    cells, captions, failures = [], [], []
    for one_image in mistakes:
        try:
            image = sources[one_image.file_name].load_rgb()
        except ImageReadError as error:
            failures.append(str(error))
            continue
        cells.append(_draw(image, one_image.file_name, scores))
        captions.append(f"{shown(one_image.file_name)}: {one_image.num_missed} missed, {one_image.num_false} false")
    if not cells:
        return None, failures
    return contact_sheet(cells, captions=captions, num_columns=_NUM_COLUMNS, cell_width=_CELL_WIDTH), failures


def _draw(image: RgbImage, file_name: str, scores: Scores) -> RgbImage:
    """One image at the size of a cell."""
    matches = scores.matches
    number = matches.file_names.index(file_name)
    of_image = np.flatnonzero(matches.face_images == number)
    is_shown = (matches.detection_images == number) & (matches.scores >= scores.ap50.best_f1_score)
    is_true, is_counted = matches.judge(~matches.faces.ignore)
    found = np.unique(matches.matched[is_shown & is_true])
    missed = matches.faces.select_images(np.array([number])).labels()[0].select(~np.isin(of_image, found))
    canvas, factor = shrink(image, _CELL_WIDTH)
    for faces, style in (
        (_detections(matches, is_shown & is_true), RIGHT_STYLE),
        (missed, MISSED_STYLE),
        (_detections(matches, is_shown & is_counted & ~is_true), FALSE_STYLE),
    ):
        canvas = draw_faces(canvas, scale_faces(faces, factor), style=style)
    return canvas


def _detections(matches: FaceMatches, mask: BoolArray) -> FaceDetections:
    """The detections of a (D,) mask."""
    found = matches.detections
    return FaceDetections(found.boxes[mask], found.landmarks[mask], scores_of(found)[mask])
