"""Exported networks against torch: the same images through both, on several sizes and batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from retinaface_cli.detection.network_files.graph import AnyArray, Graph
from retinaface_cli.faces import FaceDetections
from retinaface_cli.geometry.anchors import generate_anchors
from retinaface_cli.geometry.boxes import decode_boxes, decode_landmarks
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.model.networks.outputs import HeadOutputs, face_logits
from retinaface_cli.model.postprocess import postprocess
from retinaface_cli.settings.detection import DetectionSettings
from retinaface_cli.settings.export import ExportSettings

IMAGE_SIZES = ((96, 96), (75, 131), (160, 128), (250, 333), (480, 640))
BATCH_SIZES = (1, 3)

_NUM_FACES = 30
"""Anchors an image that count as faces where few do by the threshold."""

_MAX_FLIPS = 0.02
"""Part of the faces for which rounding may decide whether suppression or threshold takes them."""


class Difference(NamedTuple):
    """How far an exported network is from torch.

    Attributes:
        score: largest difference of a score.
        pixels: largest difference of a coordinate of a box or landmark.
        num_compared: anchors, or faces where suppression is inside.
        num_flips: faces that only one of both has.
    """

    score: float = 0.0
    pixels: float = 0.0
    num_compared: int = 0
    num_flips: int = 0

    def join(self, other: Difference) -> Difference:
        """Both as one."""
        return Difference(
            max(self.score, other.score),
            max(self.pixels, other.pixels),
            self.num_compared + other.num_compared,
            self.num_flips + other.num_flips,
        )

    def is_within(self, limit: Difference) -> bool:
        """Whether scores and coordinates differ by no more than the limit's, and faces only by rounding."""
        is_close = self.score <= limit.score and self.pixels <= limit.pixels  # False for NaN
        return is_close and self.num_flips <= 1 + _MAX_FLIPS * self.num_compared


class Reference:
    """What torch gives in 32 bits for the images that are compared."""

    def __init__(self, weights: LoadedWeights, image_size: tuple[int, int] | None) -> None:
        """Runs the network as it was trained, on images of all IMAGE_SIZES or of the only size."""
        sizes = IMAGE_SIZES if image_size is None else (image_size,)
        anchors = weights.network.anchors
        network = weights.build()
        self.images = [_make_images(max(BATCH_SIZES), size, seed=seed) for seed, size in enumerate(sizes)]
        self._anchors = [generate_anchors(size, anchors.sizes, anchors.strides) for size in sizes]
        with torch.inference_mode():
            self._outputs = [network(_normalise(images, weights)) for images in self.images]

    @property
    def image_sizes(self) -> list[tuple[int, int]]:
        """(height, width) of the images that are compared."""
        return [(images.shape[1], images.shape[2]) for images in self.images]

    def compare(self, graph: Graph, settings: ExportSettings) -> Difference:
        """How far a graph is from the reference."""
        return self._compare_faces(graph, settings) if settings.end2end else self._compare_heads(graph)

    def _compare_heads(self, graph: Graph) -> Difference:
        """How far raw heads are from the reference, decoded, at all anchors."""
        total = Difference()
        for images, anchors, outputs in zip(self.images, self._anchors, self._outputs, strict=True):
            for batch in BATCH_SIZES:
                found = HeadOutputs(*(torch.from_numpy(part.copy()) for part in graph.run(images[:batch])))
                expected = HeadOutputs(*(part[:batch] for part in outputs))
                scores, coordinates = _decode(found, anchors)
                wanted_scores, wanted_coordinates = _decode(expected, anchors)
                one = Difference(
                    float((scores - wanted_scores).abs().max()),
                    float((coordinates - wanted_coordinates).abs().max()),
                    scores.numel(),
                )
                total = total.join(one)
        return total

    @property
    def low_threshold(self) -> float:
        """A score threshold above which there are faces in every image."""
        scores = [torch.sigmoid(face_logits(outputs)) for outputs in self._outputs]  # (B, A)
        return min(float(one.topk(min(_NUM_FACES, one.shape[1])).values[:, -1].min()) for one in scores)

    def _compare_faces(self, graph: Graph, settings: ExportSettings) -> Difference:
        """How far the faces of a network with suppression inside are from the reference."""
        plain = DetectionSettings(
            score_threshold=settings.score_threshold,
            nms_iou_threshold=settings.nms_iou_threshold,
            keep_top_k=settings.keep_top_k,
            pre_nms_top_k=1_000_000,
            box_voting=False,
        )
        total = Difference()
        for images, anchors, outputs in zip(self.images, self._anchors, self._outputs, strict=True):
            expected = postprocess(outputs, anchors, plain)
            for batch in BATCH_SIZES:
                for faces, wanted in zip(read_faces(graph.run(images[:batch])), expected[:batch], strict=True):
                    total = total.join(_compare_faces(faces, wanted))
        return total


def read_faces(outputs: Sequence[AnyArray]) -> Iterator[FaceDetections]:
    """The faces of each image from the outputs boxes, scores and landmarks of an end-to-end network."""
    for boxes, scores, landmarks in zip(*outputs, strict=True):
        is_face = scores > 0
        yield FaceDetections(boxes[is_face], landmarks[is_face], scores[is_face])


def _compare_faces(faces: FaceDetections, wanted: FaceDetections) -> Difference:
    """Each face against the nearest of the other list."""
    if not len(faces) or not len(wanted):
        return Difference(num_flips=len(faces) + len(wanted))
    distances = np.abs(faces.boxes[:, None] - wanted.boxes[None]).max(axis=2)  # (N, M)
    nearest = distances.argmin(axis=1)
    is_same = (distances.argmin(axis=0)[nearest] == np.arange(len(faces))) & (distances.min(axis=1) < 1)
    pairs = nearest[is_same]
    offsets = np.abs(faces.landmarks[is_same] - wanted.landmarks[pairs])
    return Difference(
        float(np.abs(faces.scores[is_same] - wanted.scores[pairs]).max(initial=0)),
        float(max(distances.min(axis=1)[is_same].max(initial=0), offsets.max(initial=0))),
        len(pairs),
        len(faces) + len(wanted) - 2 * len(pairs),
    )


def _decode(
    outputs: HeadOutputs, anchors: Float[Tensor, "A 4"]
) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A 14"]]:
    """Scores, and the coordinates of boxes and landmarks in pixels."""
    boxes = decode_boxes(outputs.box_deltas, anchors.expand(len(outputs.box_deltas), -1, -1))
    points = decode_landmarks(outputs.landmark_deltas, anchors.expand(len(boxes), -1, -1))
    return torch.sigmoid(face_logits(outputs)), torch.cat([boxes, points.flatten(2)], dim=2)


def _make_images(count: int, size: tuple[int, int], *, seed: int) -> npt.NDArray[np.uint8]:
    """(count, H, W, 3) smooth random images."""
    height, width = size
    small = np.random.default_rng(seed).integers(0, 256, (count, height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in small]).astype(np.uint8)


def _normalise(images: npt.NDArray[np.uint8], weights: LoadedWeights) -> Float[Tensor, "B 3 H W"]:
    """RGB images (B, H, W, 3) as the network was trained on."""
    wanted = weights.network.preprocessing
    ordered = images if wanted.color_order == "rgb" else images[..., ::-1]
    normalised = (ordered.astype(np.float32) - np.array(wanted.mean, np.float32)) / np.array(wanted.std, np.float32)
    return torch.from_numpy(normalised).permute(0, 3, 1, 2).contiguous()
