"""The images with most mistakes, drawn on a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from retinaface_cli.commands.evaluate.scores import ImageMistakes, Scores
from retinaface_cli.data.preprocessing import RgbImage, load_rgb
from retinaface_cli.errors import ImageReadError
from retinaface_cli.visualization.drawing import LABEL_STYLE, PREDICTION_STYLE, draw_faces
from retinaface_cli.visualization.image_files import save_image
from retinaface_cli.visualization.sheets import contact_sheet, scale_faces, shrink

RIGHT_STYLE = replace(PREDICTION_STYLE, color=(70, 226, 120), has_landmarks=False, has_scores=False)
MISSED_STYLE = replace(LABEL_STYLE, has_landmarks=False)
FALSE_STYLE = replace(PREDICTION_STYLE, has_landmarks=False)

_CELL_WIDTH = 800
_NUM_COLUMNS = 3


def draw_worst(scores: Scores, mistakes: Sequence[ImageMistakes], paths: Mapping[str, Path], output: Path) -> list[str]:
    """Draws missed faces blue, false detections orange with their scores, right ones green, ignored faces dashed.

    Args:
        scores: with the detections; those below the score of the best F1 are not drawn.
        mistakes: the images to draw.
        paths: name of an image -> where it lies.
        output: of the sheet.

    Returns:
        Images that could not be read, with the reason.
    """
    cells, captions, failures = [], [], []
    for one_image in mistakes:
        try:
            image = load_rgb(paths[one_image.file_name])
        except ImageReadError as error:
            failures.append(str(error))
            continue
        cells.append(_draw(image, one_image.file_name, scores))
        captions.append(f"{one_image.file_name}: {one_image.num_missed} missed, {one_image.num_false} false")
    if cells:
        sheet = contact_sheet(cells, captions=captions, num_columns=_NUM_COLUMNS, cell_width=_CELL_WIDTH)
        save_image(output, sheet)
    return failures


def _draw(image: RgbImage, file_name: str, scores: Scores) -> RgbImage:
    """One image at the size of a cell."""
    matches = scores.matches
    number = matches.file_names.index(file_name)
    of_image = np.flatnonzero(matches.face_images == number)
    is_shown = (matches.detection_images == number) & (matches.scores >= scores.ap50.best_f1_score)
    is_true, is_counted = matches.judge(~matches.faces.ignore)
    found = np.unique(matches.claims[is_shown & is_true])
    is_missed = ~np.isin(of_image, found)
    canvas, factor = shrink(image, _CELL_WIDTH)
    right = matches.detections.select(np.flatnonzero(is_shown & is_true))
    wrong = matches.detections.select(np.flatnonzero(is_shown & is_counted & ~is_true))
    canvas = draw_faces(canvas, scale_faces(right, factor), style=RIGHT_STYLE)
    canvas = draw_faces(canvas, scale_faces(matches.faces.select(of_image[is_missed]), factor), style=MISSED_STYLE)
    return draw_faces(canvas, scale_faces(wrong, factor), style=FALSE_STYLE)
