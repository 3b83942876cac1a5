"""The true faces of a batch as the loss wants them, the anchors that they were given, and the positive ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class FaceTargets(NamedTuple):
    """The faces of all images of a batch, one after another, in pixels of the network input.

    Attributes:
        boxes: (F, 4) x_min, y_min, x_max, y_max; a box without area is never matched.
        landmarks: (F, 5, 2) x, y; any value where missing.
        has_landmarks: (F, 5) whether each point is known.
        ignore: (F,) faces that are neither positive nor background.
        image_index: (F,) position in the batch of the image that each face belongs to.
    """

    boxes: Float[Tensor, "F 4"]
    landmarks: Float[Tensor, "F 5 2"]
    has_landmarks: Bool[Tensor, "F 5"]
    ignore: Bool[Tensor, "F"]
    image_index: Int64[Tensor, "F"]

    def may_have_ignored(self) -> bool:
        """Whether there can be ignored faces; only the CPU is asked, as an accelerator would have to be waited for."""
        return self.ignore.device.type != "cpu" or bool(self.ignore.any())


class Matches(NamedTuple):
    """What each anchor is to learn; one that is neither positive nor background is left out of the loss.

    Attributes:
        face_index: (B, A) which of the F faces the anchor is positive for, -1 for none.
        is_background: (B, A) whether the anchor is to be background.
        max_positives: bound on the number of positives, known without asking the device.
    """

    face_index: Int64[Tensor, "B A"]
    is_background: Bool[Tensor, "B A"]
    max_positives: int


class Positives(NamedTuple):
    """The P positive anchors of a batch and their faces, in the order of the anchors.

    On an accelerator, P is a bound that is known without waiting for the number, and the places behind the last
    positive are filled with copies of some anchor.

    Attributes:
        place: (P,) where in the flattened (B, A) anchors.
        is_real: (P,) False for filling.
        anchors: (P, 4) cx, cy, w, h.
        boxes: (P, 4) of their faces, xyxy; for filling the anchor's own.
        landmarks: (P, 5, 2) of their faces; the anchor's centre where missing and for filling.
        has_landmarks: (P, 5) False for filling.
        quality: (P,) IoU of the predicted box with the face, without gradient; 1 as long as nobody measured it.
    """

    place: Int64[Tensor, "P"]
    is_real: Bool[Tensor, "P"]
    anchors: Float[Tensor, "P 4"]
    boxes: Float[Tensor, "P 4"]
    landmarks: Float[Tensor, "P 5 2"]
    has_landmarks: Bool[Tensor, "P 5"]
    quality: Float[Tensor, "P"]


def collect_positives(matches: Matches, targets: FaceTargets, anchors: Float[Tensor, "A 4"]) -> Positives:
    """Lays the positives of a batch out one after another."""
    face_index = matches.face_index.flatten()
    is_positive = face_index >= 0
    index, is_real = _compact(is_positive, _num_places(matches))
    anchors = anchors[index % len(anchors)]
    faces = face_index[index].clamp(min=0)
    center, half = anchors[:, :2], anchors[:, 2:] / 2
    own_box = torch.cat([center - half, center + half], dim=1)
    has_landmarks = targets.has_landmarks[faces] & is_real[:, None]
    return Positives(
        place=index,
        is_real=is_real,
        anchors=anchors,
        boxes=torch.where(is_real[:, None], targets.boxes[faces], own_box),
        landmarks=torch.where(has_landmarks[..., None], targets.landmarks[faces], center[:, None]),
        has_landmarks=has_landmarks,
        quality=torch.ones_like(anchors[:, 0]),
    )


def _num_places(matches: Matches) -> int:
    """Places for the positives: as many as there are on the CPU, which need not be waited for, else as there can be."""
    if matches.face_index.device.type == "cpu":
        return int((matches.face_index >= 0).sum())
    return matches.max_positives


def _compact(mask: Bool[Tensor, "K"], num_places: int) -> tuple[Int64[Tensor, "P"], Bool[Tensor, "P"]]:
    """The indices of True, in order, in a given number of places, and which places are taken; the others hold 0."""
    place = mask.cumsum(dim=0)
    place = torch.where(mask, place - 1, num_places)  # what is False goes to one place more, which is cut off
    index = torch.zeros(num_places + 1, dtype=torch.int64, device=mask.device)
    index.scatter_(0, place, torch.arange(len(mask), device=mask.device))
    is_real = torch.arange(num_places, device=mask.device) < mask.sum()
    return torch.where(is_real, index[:num_places], 0), is_real
