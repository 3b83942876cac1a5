"""A closer look at the faces of which a network is in doubt: the score becomes that of both looks together.

Each doubtful face is cut out of the image and enlarged or shrunk to the size at which faces are told from other
things best. What is no face seldom looks like one twice: wheels, leaves and rocks lose their score, while blurred and
small faces gain some.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from retinaface_cli.data.preprocessing import RgbImage
from retinaface_cli.detection.backends import ForwardPass
from retinaface_cli.faces import FaceDetections, FloatArray
from retinaface_cli.geometry.boxes import decode_boxes, pairwise_iou
from retinaface_cli.model.networks.outputs import HeadOutputs, face_logits
from retinaface_cli.settings.network import NetworkSettings

DOUBTFUL_SCORES = (0.2, 0.98)
"""Between these scores a face is doubtful. Lower ones are many and rarely faces, higher ones rarely anything else."""

MAX_FACES = 100
"""Doubtful faces of an image that are looked at again, best first."""

_SMALL_FACE_SIDE = 25.0
"""Faces smaller than this, in pixels of the first look, are enlarged less than others: there is less to be seen."""

_LOGIT_RANGE = (-6.0, 4.0)
"""Bounds of the second look's logit: no answer says more."""

_BATCH_SIZE = 16
"""Faces that are looked at together."""

_SAME_FACE_IOU = 0.4
"""Overlap from which a box of the second look shows the doubtful face."""


class _View(NamedTuple):
    """How a doubtful face is shown to the network.

    Attributes:
        face_side: of the face, the root of its area, in pixels.
        crop_side: of the square around it, in pixels.
        doubt: how much less than the mean of both looks the logit of both is.
    """

    face_side: int
    crop_side: int
    doubt: float


_SMALL_FACE = _View(56, 128, doubt=1.0)
_OTHER_FACE = _View(112, 192, doubt=1.4)
"""Measured, see README.md. Doubt is what rids images without faces of false positives; faces make up for it by what
the second look adds."""


class CutOut(NamedTuple):
    """A doubtful face, cut out.

    Attributes:
        image: (S, S, 3) RGB around it.
        box: (4,) of the face in it, xyxy in pixels.
    """

    image: RgbImage
    box: FloatArray


class DoubleCheck:
    """Scores the doubtful faces of images by a second look at each."""

    def __init__(self, forward: ForwardPass, network: NetworkSettings, device: torch.device) -> None:
        """Takes the network, ready to run, with its settings and device."""
        self._forward = forward
        self._device = device
        red, green, blue = (round(value) for value in network.preprocessing.mean_rgb)
        self._fill = (red, green, blue)
        sides = [side for level in network.anchors.sizes for side in level]
        self._is_able = min(sides) <= _SMALL_FACE.face_side and max(sides) >= _OTHER_FACE.face_side

    def __call__(
        self, images: Sequence[RgbImage], faces: Sequence[FaceDetections], *, score_threshold: float
    ) -> list[FaceDetections]:
        """The faces that are above the threshold after the check.

        Args:
            images: (H, W, 3) RGB each.
            faces: of each image, best first, those below the threshold too; with anchors that are for other sizes
                than the second look shows, they keep their scores.
            score_threshold: in [0, 1].
        """
        if self._is_able and faces:
            doubtful = [find_doubtful(found, score_threshold) for found in faces]
            cut_outs = [
                cut_out(image, found.boxes[index], self._fill)
                for image, found, indices in zip(images, faces, doubtful, strict=True)
                for index in indices
            ]
            answers = np.split(self._ask(cut_outs), np.cumsum([len(indices) for indices in doubtful])[:-1])
            faces = [weigh(*one) for one in zip(faces, doubtful, answers, strict=True)]
        return [found.select(found.scores > score_threshold) for found in faces]

    def _ask(self, cut_outs: Sequence[CutOut]) -> FloatArray:
        """The logits of the faces."""
        answers = np.zeros(len(cut_outs), np.float32)
        sides = np.array([len(one.image) for one in cut_outs])
        for side in np.unique(sides):
            same = np.flatnonzero(sides == side)
            for indices in np.split(same, range(_BATCH_SIZE, len(same), _BATCH_SIZE)):
                answers[indices] = self._ask_batch([cut_outs[index] for index in indices])
        return answers

    def _ask_batch(self, cut_outs: list[CutOut]) -> FloatArray:
        """The logits of faces in cut-outs of one size."""
        images = [one.image for one in cut_outs]
        if self._forward.prefers_few_shapes:
            images += images[:1] * (_next_power_of_two(len(images)) - len(images))
        boxes = torch.from_numpy(np.stack([one.box for one in cut_outs])).to(self._device)
        read: list[FloatArray] = []
        for outputs, anchors in self._forward(images):
            asked = boxes[len(read) :]
            wanted = HeadOutputs(*(values[: len(asked)] for values in outputs))
            read.extend(read_answers(wanted, anchors, asked[: len(outputs.class_logits)]))
        return np.array(read)


def find_doubtful(faces: FaceDetections, score_threshold: float) -> npt.NDArray[np.intp]:
    """Indices of the faces (best first) that are worth a second look for what is to come out above the threshold."""
    threshold = np.clip(score_threshold, 1e-6, 1 - 1e-6)
    lowest, highest = DOUBTFUL_SCORES
    is_doubtful = (faces.scores > lowest) & (faces.scores < highest)
    most = _combine(faces.scores, _LOGIT_RANGE[1], _doubts(faces.boxes))
    return np.flatnonzero(is_doubtful & (most > threshold))[:MAX_FACES]


def cut_out(image: RgbImage, box: FloatArray, fill: tuple[int, int, int]) -> CutOut:
    """The square around a box (4,) xyxy of an image (H, W, 3) RGB; what lies beyond the image is filled."""
    face_side = max(1.0, float(_sides(box)))
    view = _SMALL_FACE if face_side < _SMALL_FACE_SIDE else _OTHER_FACE
    side = max(2, round(face_side * view.crop_side / view.face_side))
    left, top = (int(value) for value in np.rint((box[:2] + box[2:] - side) / 2))
    x, y = max(left, 0), max(top, 0)
    part = image[y : max(top + side, y), x : max(left + side, x)]
    square = np.full((side, side, 3), fill, np.uint8)
    square[y - top : y - top + part.shape[0], x - left : x - left + part.shape[1]] = part
    how = cv2.INTER_AREA if side > view.crop_side else cv2.INTER_LINEAR
    resized = cv2.resize(square, (view.crop_side, view.crop_side), interpolation=how)
    in_square = (box - np.array([left, top, left, top], np.float32)) * np.float32(view.crop_side / side)
    return CutOut(resized, in_square)  # type: ignore[arg-type]


def read_answers(outputs: HeadOutputs, anchors: Float[Tensor, "A 4"], boxes: Float[Tensor, "N 4"]) -> FloatArray:
    """(N,) logits of the faces in N images of one size: the best of those whose boxes overlap the face's.

    Args:
        outputs: for the N images.
        anchors: (cx, cy, w, h) that they refer to.
        boxes: of the face in each, xyxy in pixels.
    """
    found = decode_boxes(outputs.box_deltas.float(), anchors.expand(len(boxes), -1, -1))  # (N, A, 4)
    is_same = pairwise_iou(boxes[:, None], found)[:, 0] > _SAME_FACE_IOU  # (N, A)
    low, high = _LOGIT_RANGE
    answers: FloatArray = torch.where(is_same, face_logits(outputs), low).amax(dim=1).clamp(low, high).cpu().numpy()
    return answers


def weigh(faces: FaceDetections, doubtful: npt.NDArray[np.intp], answers: FloatArray) -> FaceDetections:
    """The faces, best first, with the scores of both looks.

    What was not looked at again, because it is too unlikely a face, is scored as if it had been, with the same result;
    what is beyond doubt keeps its score.
    """
    all_answers = _logits(faces.scores)
    all_answers[doubtful] = answers
    both = _combine(faces.scores, all_answers, _doubts(faces.boxes))
    scores = np.where(faces.scores < DOUBTFUL_SCORES[1], both, faces.scores)
    weighed = FaceDetections(faces.boxes, faces.landmarks, scores)
    return weighed.select(np.argsort(-scores, kind="stable"))


def _combine(scores: FloatArray, answers: FloatArray | float, doubts: FloatArray) -> FloatArray:
    """Scores of both looks from those of the first and the logits of the second."""
    exponents = doubts - (_logits(scores) + answers) / 2
    return (1 / (1 + np.exp(exponents))).astype(np.float32)


def _logits(scores: FloatArray) -> FloatArray:
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    logits: FloatArray = np.log(inside / (1 - inside))
    return logits


def _doubts(boxes: FloatArray) -> FloatArray:
    """(N,) doubts about the faces in (N, 4) boxes."""
    return np.where(_sides(boxes) < _SMALL_FACE_SIDE, _SMALL_FACE.doubt, _OTHER_FACE.doubt).astype(np.float32)


def _sides(boxes: FloatArray) -> FloatArray:
    """(...,) roots of the areas of (..., 4) boxes, in pixels."""
    sides: FloatArray = np.sqrt((boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(axis=-1))
    return sides


def _next_power_of_two(count: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << (count - 1).bit_length()
