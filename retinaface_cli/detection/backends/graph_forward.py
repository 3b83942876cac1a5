"""The forward pass of a network that a runtime has opened as a graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from retinaface_cli.detection.network_files.family import Family
from retinaface_cli.detection.network_files.graph import AnyArray, Graph
from retinaface_cli.faces import RgbImage
from retinaface_cli.geometry.anchors import cell_origins, generate_anchors, padded_size
from retinaface_cli.model.networks.outputs import HeadOutputs


class _Input(NamedTuple):
    """An image as it enters the network.

    Attributes:
        array: the input.
        canvas_size: (height, width) of it.
        image_size: (height, width) of the image in its upper left corner; the rest is filled.
    """

    array: AnyArray
    canvas_size: tuple[int, int]
    image_size: tuple[int, int]


class GraphForward:
    """A graph: one image after another, as it is where the graph takes it so."""

    prefers_few_shapes = False  # images go one by one

    def __init__(self, graph: Graph, family: Family) -> None:
        """Takes a graph and what is known of its kind."""
        self.description = graph.description
        self.num_parallel = graph.num_parallel
        self._graph = graph
        self._family = family
        self._fixed_size = fixed_size(graph, family)
        is_ours = family.takes_rgb  # then 0 to the network is the mean; others are filled with black
        self._fill = [float(round(value)) for value in family.preprocessing.mean_rgb] if is_ours else [0.0] * 3
        self._dtype = np.dtype(graph.inputs[0].dtype)

    def __call__(self, images: Sequence[RgbImage]) -> Iterator[tuple[HeadOutputs, Tensor]]:
        """Runs the images; see ForwardPass. The outputs of an image hold until the next one is asked for.

        An image that is larger than what the graph takes is shrunk for it; the anchors are in pixels of the image.
        """
        settings = self._family.anchors
        for image in images:
            given = self._prepare(image)
            outputs = self._family.read(self._graph.run(given.array))
            anchors = generate_anchors(given.canvas_size, settings.sizes, settings.strides)
            if given.image_size != given.canvas_size:
                origins = cell_origins(given.canvas_size, settings.nums_per_cell, settings.strides)
                height, width = given.image_size
                outside = (origins >= origins.new_tensor([width, height])).any(dim=1)  # (A,)
                logits = outputs.class_logits.clone()
                logits[:, outside, 1] = -torch.inf
                outputs = outputs._replace(class_logits=logits)
            if given.image_size != image.shape[:2]:
                rows, columns = (side / shrunk for side, shrunk in zip(image.shape, given.image_size, strict=False))
                anchors = anchors * anchors.new_tensor([columns, rows, columns, rows])
            yield outputs, anchors

    def _prepare(self, image: RgbImage) -> _Input:
        """The image shrunk if need be, filled up, and normalised where the network does not do it."""
        family = self._family
        height, width = image.shape[:2]
        canvas_size = self._fixed_size or padded_size((height, width), multiple=family.multiple)
        factor = min(1.0, canvas_size[0] / height, canvas_size[1] / width)
        if factor < 1:
            height, width = (max(1, int(side * factor + 0.5)) for side in (height, width))
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        if (height, width) != canvas_size:
            below, right = canvas_size[0] - height, canvas_size[1] - width
            image = cv2.copyMakeBorder(  # type: ignore[assignment]
                image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=self._fill
            )
        return _Input(self._to_array(image), canvas_size, (height, width))

    def _to_array(self, image: RgbImage) -> AnyArray:
        """The image (H, W, 3) as an input of one image."""
        if self._family.takes_rgb:
            return image[None]
        wanted = self._family.preprocessing
        is_bgr = wanted.color_order == "bgr"
        array: AnyArray = cv2.dnn.blobFromImage(image, 1 / wanted.std[0], mean=wanted.mean, swapRB=is_bgr)
        return array.astype(self._dtype, copy=False)  # (1, 3, H, W)


def fixed_size(graph: Graph, family: Family) -> tuple[int, int] | None:
    """(height, width) of the only images that a graph takes; None where it takes any."""
    shape = graph.inputs[0].shape
    height, width = shape[1:3] if family.takes_rgb else shape[2:4]
    return None if height is None or width is None else (height, width)
