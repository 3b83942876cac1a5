"""Rescoring: faces of middling score go through the network again, cut out, and are scored by both passes.

Each such face is cut out of the image and enlarged or shrunk to the size at which faces are told from other things
best. What is no face seldom scores twice: wheels, leaves and rocks lose their score, while blurred and small faces gain
some.
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

from retinaface_cli.detection.backends import ForwardPass
from retinaface_cli.errors import SettingsError
from retinaface_cli.faces import FaceDetections, FloatArray, RgbImage
from retinaface_cli.geometry.boxes import decode_boxes, pairwise_iou
from retinaface_cli.model.networks.outputs import HeadOutputs, face_logits
from retinaface_cli.settings.network import AnchorSettings, PreprocessingSettings

RESCORED = (0.2, 0.98)
"""Between these scores a face is rescored. Lower ones are many and rarely faces, higher ones rarely anything else."""

MAX_FACES = 100
"""Faces of an image that are rescored, best first."""

_SMALL_FACE_SIDE = 25.0
"""Faces smaller than this, in pixels of the first pass, are enlarged less than others: they hold less detail."""

_LOGIT_RANGE = (-6.0, 4.0)
"""Bounds of the second logit."""

_BATCH_SIZE = 16
"""Faces that go through the network together."""

_SAME_FACE_IOU = 0.4
"""Overlap from which a box of the second pass shows the same face."""


class _CropSize(NamedTuple):
    """How a face is cut out.

    Attributes:
        face_side: of the face, the root of its area, in pixels.
        crop_side: of the square around it, in pixels.
        offset: what is subtracted from the mean of both logits.
    """

    face_side: int
    crop_side: int
    offset: float


_SMALL_FACE = _CropSize(56, 128, offset=1.0)
_OTHER_FACE = _CropSize(112, 192, offset=1.4)
"""Measured, see weights/README.md. The offset is what rids images without faces of false positives; faces make up
for it by what the second pass adds."""


class CutOut(NamedTuple):
    """A face, cut out.

    Attributes:
        image: (S, S, 3) RGB around it.
        box: (4,) of the face in it, xyxy in pixels.
    """

    image: RgbImage
    box: FloatArray


class Rescorer:
    """Scores faces of middling score by a second pass over each."""

    def __init__(self, forward: ForwardPass, preprocessing: PreprocessingSettings, device: torch.device) -> None:
        """Takes the network, ready to run, with what its images go through and its device."""
        self._forward = forward
        self._device = device
        red, green, blue = (round(value) for value in preprocessing.mean_rgb)
        self._fill = (red, green, blue)

    def __call__(
        self, images: Sequence[RgbImage], faces: Sequence[FaceDetections], *, score_threshold: float
    ) -> list[FaceDetections]:
        """The faces that are above the threshold after rescoring.

        Args:
            images: (H, W, 3) RGB each.
            faces: of each image, best first, those below the threshold too.
            score_threshold: in [0, 1].
        """
        if faces:
            chosen = [choose_faces(found, score_threshold) for found in faces]
            cut_outs = [
                cut_out(image, found.boxes[index], self._fill)
                for image, found, indices in zip(images, faces, chosen, strict=True)
                for index in indices
            ]
            logits = np.split(self._run(cut_outs), np.cumsum([len(indices) for indices in chosen])[:-1])
            faces = [combine_scores(*one) for one in zip(faces, chosen, logits, strict=True)]
        return [found.select(found.scores > score_threshold) for found in faces]

    def _run(self, cut_outs: Sequence[CutOut]) -> FloatArray:
        """The logits of the faces."""
        logits = np.zeros(len(cut_outs), np.float32)
        sides = np.array([len(one.image) for one in cut_outs])
        for side in np.unique(sides):
            same = np.flatnonzero(sides == side)
            for indices in np.split(same, range(_BATCH_SIZE, len(same), _BATCH_SIZE)):
                logits[indices] = self._run_batch([cut_outs[index] for index in indices])
        return logits

    def _run_batch(self, cut_outs: list[CutOut]) -> FloatArray:
        """The logits of faces in cut-outs of one size."""
        images = [one.image for one in cut_outs]
        if self._forward.prefers_few_shapes:
            images += images[:1] * (_next_power_of_two(len(images)) - len(images))
        boxes = torch.from_numpy(np.stack([one.box for one in cut_outs])).to(self._device)
        read: list[FloatArray] = []
        for outputs, anchors in self._forward(images):
            rest = boxes[len(read) :]
            wanted = HeadOutputs(*(values[: len(rest)] for values in outputs))
            read.extend(read_logits(wanted, anchors, rest[: len(outputs.class_logits)]))
        return np.array(read)


def can_rescore(anchors: AnchorSettings) -> bool:
    """Whether a network finds faces of the sizes at which they are shown to it again."""
    sides = [side for level in anchors.sizes for side in level]
    return min(sides) <= _SMALL_FACE.face_side and max(sides) >= _OTHER_FACE.face_side


def check_anchors(anchors: AnchorSettings, *, network: str) -> None:
    """Raises SettingsError for a network that cannot rescore; it is named in the message."""
    if not can_rescore(anchors):
        sizes = f"{_SMALL_FACE.face_side} to {_OTHER_FACE.face_side}"
        raise SettingsError(f"--rescore: not for {network}, whose anchors do not reach from {sizes} pixels")


def choose_faces(faces: FaceDetections, score_threshold: float) -> npt.NDArray[np.intp]:
    """Indices of the faces (best first) that are rescored for what is to come out above the threshold."""
    threshold = np.clip(score_threshold, 1e-6, 1 - 1e-6)
    lowest, highest = RESCORED
    is_between = (faces.scores > lowest) & (faces.scores < highest)
    most = _combine(faces.scores, _LOGIT_RANGE[1], _offsets(faces.boxes))
    return np.flatnonzero(is_between & (most > threshold))[:MAX_FACES]


def cut_out(image: RgbImage, box: FloatArray, fill: tuple[int, int, int]) -> CutOut:
    """The square around a box (4,) xyxy of an image (H, W, 3) RGB; what lies beyond the image is filled."""
    face_side = max(1.0, float(_sides(box)))
    size = _SMALL_FACE if face_side < _SMALL_FACE_SIDE else _OTHER_FACE
    side = max(2, round(face_side * size.crop_side / size.face_side))
    left, top = (int(value) for value in np.rint((box[:2] + box[2:] - side) / 2))
    x, y = max(left, 0), max(top, 0)
    part = image[y : max(top + side, y), x : max(left + side, x)]
    square = np.full((side, side, 3), fill, np.uint8)
    square[y - top : y - top + part.shape[0], x - left : x - left + part.shape[1]] = part
    how = cv2.INTER_AREA if side > size.crop_side else cv2.INTER_LINEAR
    resized = cv2.resize(square, (size.crop_side, size.crop_side), interpolation=how)
    in_square = (box - np.array([left, top, left, top], np.float32)) * np.float32(size.crop_side / side)
    return CutOut(resized, in_square)  # type: ignore[arg-type]


def read_logits(outputs: HeadOutputs, anchors: Float[Tensor, "A 4"], boxes: Float[Tensor, "N 4"]) -> FloatArray:
    """(N,) logits of the faces in N images of one size: the best of those whose boxes overlap the face's.

    Args:
        outputs: for the N images.
        anchors: (cx, cy, w, h) that they refer to.
        boxes: of the face in each, xyxy in pixels.
    """
    low, high = _LOGIT_RANGE
    logits = face_logits(outputs)
    owners, index = torch.nonzero(logits > low, as_tuple=True)  # few, so that what follows costs next to nothing
    found = decode_boxes(outputs.box_deltas[owners, index].float(), anchors[index])
    is_same = pairwise_iou(boxes[owners, None], found[:, None])[:, 0, 0] > _SAME_FACE_IOU
    best = logits.new_full((len(boxes),), low)
    best.scatter_reduce_(0, owners[is_same], logits[owners, index][is_same], "amax")
    result: FloatArray = best.clamp(max=high).cpu().numpy()
    return result


def combine_scores(faces: FaceDetections, chosen: npt.NDArray[np.intp], logits: FloatArray) -> FaceDetections:
    """The faces, best first, with the scores of both passes.

    What was not rescored, because it is too unlikely a face, is scored as if it had been, with the same result; scores
    above the range stay.
    """
    second = _logits(faces.scores)
    second[chosen] = logits
    both = _combine(faces.scores, second, _offsets(faces.boxes))
    scores = np.where(faces.scores < RESCORED[1], both, faces.scores)
    rescored = FaceDetections(faces.boxes, faces.landmarks, scores)
    return rescored.select(np.argsort(-scores, kind="stable"))


def _combine(scores: FloatArray, second: FloatArray | float, offsets: FloatArray) -> FloatArray:
    """Scores of both passes from those of the first and the logits of the second."""
    exponents = offsets - (_logits(scores) + second) / 2
    return (1 / (1 + np.exp(exponents))).astype(np.float32)


def _logits(scores: FloatArray) -> FloatArray:
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    logits: FloatArray = np.log(inside / (1 - inside))
    return logits


def _offsets(boxes: FloatArray) -> FloatArray:
    """(N,) offsets of the faces in (N, 4) boxes."""
    return np.where(_sides(boxes) < _SMALL_FACE_SIDE, _SMALL_FACE.offset, _OTHER_FACE.offset).astype(np.float32)


def _sides(boxes: FloatArray) -> FloatArray:
    """(...,) roots of the areas of (..., 4) boxes, in pixels."""
    sides: FloatArray = np.sqrt((boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(axis=-1))
    return sides


def _next_power_of_two(count: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << (count - 1).bit_length()
