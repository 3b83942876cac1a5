"""The network with decoding and suppression inside, in the shape in which it is handed to other libraries."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from retinaface_cli.detection.backends.image_network import ImageNetwork
from retinaface_cli.geometry.boxes import decode_boxes, decode_landmarks
from retinaface_cli.geometry.suppression import nms
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.model.networks.outputs import face_logits
from retinaface_cli.settings.export import ExportSettings
from retinaface_cli.settings.network import AnchorSettings

OUTPUT_NAMES = ("boxes", "scores", "landmarks")


class EndToEndNetwork(nn.Module):
    """Images to faces.

    The outputs have as many rows K an image as the image of the batch with most faces has faces, best first. Where an
    image has fewer, its last rows have the score 0.
    """

    def __init__(self, weights: LoadedWeights, settings: ExportSettings) -> None:
        super().__init__()
        self.network = ImageNetwork(weights)
        self._anchors = weights.network.anchors
        self._settings = settings

    def forward(
        self, images: UInt8[Tensor, "B H W 3"]
    ) -> tuple[Float[Tensor, "B K 4"], Float[Tensor, "B K"], Float[Tensor, "B K 5 2"]]:
        """Boxes x1, y1, x2, y2 and landmarks in pixels of the images, and scores."""
        outputs = self.network(images)
        anchors = _traced_anchors(images, self._anchors).expand_as(outputs.box_deltas)  # (B, A, 4)
        boxes = decode_boxes(outputs.box_deltas, anchors)  # (B, A, 4)
        points = decode_landmarks(outputs.landmark_deltas, anchors).flatten(2)  # (B, A, 10)
        settings = self._settings
        scores, indices = _Suppression.apply(
            boxes,
            torch.sigmoid(face_logits(outputs)),
            settings.nms_iou_threshold,
            settings.score_threshold,
            settings.keep_top_k,
        )
        values = torch.cat([boxes, points], dim=2)  # (B, A, 14)
        kept = torch.gather(values, 1, indices[:, :, None].expand(-1, -1, values.shape[2]))  # (B, K, 14)
        kept = kept * (scores > 0)[:, :, None]
        return kept[:, :, :4], scores, kept[:, :, 4:].reshape(kept.shape[0], -1, 5, 2)


def _traced_anchors(images: UInt8[Tensor, "B H W 3"], anchors: AnchorSettings) -> Float[Tensor, "A 4"]:
    """geometry.generate_anchors by operations that depend on the images' size when they are written down."""
    levels = []
    for sizes, stride in zip(anchors.sizes, anchors.strides, strict=True):
        rows, columns = ((side + stride - 1) // stride for side in images.shape[1:3])
        y = (torch.arange(rows, dtype=torch.float32) + 0.5) * stride
        x = (torch.arange(columns, dtype=torch.float32) + 0.5) * stride
        grid_y, grid_x, side = torch.meshgrid(y, x, torch.tensor(sizes, dtype=torch.float32), indexing="ij")
        levels.append(torch.stack([grid_x, grid_y, side, side], dim=-1).reshape(-1, 4))
    return torch.cat(levels)


class _Suppression(torch.autograd.Function):
    """Non-maximum suppression image by image, as ONNX's own operation where it is exported."""

    @staticmethod
    def forward(
        _: Any,
        boxes: Float[Tensor, "B A 4"],
        scores: Float[Tensor, "B A"],
        iou_threshold: float,
        score_threshold: float,
        keep_top_k: int,
    ) -> tuple[Float[Tensor, "B K"], Int64[Tensor, "B K"]]:
        """Scores of the faces of each image, best first, and their anchors; 0 where an image has fewer."""
        kept = torch.zeros_like(scores)
        for row, image_boxes, image_scores in zip(kept, boxes, scores, strict=True):
            chosen = torch.nonzero(image_scores > score_threshold)[:, 0]
            chosen = chosen[nms(image_boxes[chosen], image_scores[chosen], iou_threshold)]
            row[chosen[:keep_top_k]] = image_scores[chosen[:keep_top_k]]
        values, indices = kept.topk(int((kept > 0).sum(dim=1).max()))
        return values, indices

    @staticmethod
    def symbolic(
        graph: Any, boxes: Any, scores: Any, iou_threshold: float, score_threshold: float, keep_top_k: int
    ) -> tuple[Any, Any]:
        """The same in operations of ONNX."""

        def constant(value: float | list[float]) -> Any:
            """A number or a list as a node of the graph."""
            return graph.op("Constant", value_t=torch.tensor(value))

        limits = (constant([keep_top_k]), constant([iou_threshold]), constant([score_threshold]))
        by_class = graph.op("Unsqueeze", scores, constant([1]))  # (B, 1, A)
        selected = graph.op("NonMaxSuppression", boxes, by_class, *limits)  # (N, 3): image, class, anchor
        places = graph.op("Gather", selected, constant([0, 2]), axis_i=1)  # (N, 2)
        zeros = graph.op("Mul", scores, constant(0.0))
        kept = graph.op("ScatterND", zeros, places, graph.op("GatherND", scores, places))  # (B, A)
        is_face = graph.op("Cast", graph.op("Greater", kept, constant(0.0)), to_i=7)  # int64
        counts = graph.op("ReduceSum", is_face, constant([1]), keepdims_i=0)  # (B,)
        most = graph.op("ReduceMax", counts, keepdims_i=1)  # (1,)
        # OpenVINO takes no top 0
        values, indices = graph.op("TopK", kept, graph.op("Max", most, constant([1])), outputs=2)
        first = (constant([0]), most, constant([1]))
        return graph.op("Slice", values, *first), graph.op("Slice", indices, *first)
