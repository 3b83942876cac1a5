"""Small ONNX files with the inputs and outputs of SCRFD and YuNet, whose faces are known by hand.

Each output is a 1x1 convolution of the mean colour of a cell. Only cells of stride 16 can be faces: those that are red.
The box and the points of a face lie as BOX and POINTS say, whatever the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
FACE_STRIDE = 16
NEVER = -10.0
"""Bias of the logit of what is no face."""

BOX = (1.0, 0.5, 1.5, 2.0)
"""SCRFD: distances of left, top, right and bottom, in strides. YuNet: see YUNET_BOX."""

YUNET_BOX = (0.5, 0.25, float(np.log(2)), float(np.log(3)))
"""Centre from the cell's corner in strides, logarithm of the size in strides."""

POINTS = (-0.5, 0.25, 0.5, 0.25, 0.0, 0.5, -0.25, 1.0, 0.25, 1.0)
"""x and y of the five points in strides."""

Shape = Sequence[int | str | None]


class GraphMaker:
    """Collects the nodes of a graph."""

    def __init__(self, input_shape: Shape) -> None:
        self._input = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, input_shape)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        for stride in STRIDES:
            self._add("AveragePool", ["input.1"], f"mean{stride}", kernel_shape=[stride] * 2, strides=[stride] * 2)

    def add_head(
        self,
        name: str,
        stride: int,
        *,
        num_values: int,
        weights: npt.NDArray[np.float64],
        biases: npt.NDArray[np.float64],
        sigmoid: bool = False,
        shape: Shape,
    ) -> None:
        """A head of num_values a row; as many rows a cell as its channels make.

        Args:
            name: of the output.
            stride: of its cells.
            num_values: a row.
            weights: (channels, 3).
            biases: (channels,).
            sigmoid: whether it ends in one.
            shape: as the file declares it; of three dimensions: with a batch dimension.
        """
        inner = f"{name}.{stride}"
        self._constant(f"{inner}.w", weights.reshape(-1, 3, 1, 1).astype(np.float32))
        self._constant(f"{inner}.b", biases.astype(np.float32))
        rows = [1, -1, num_values] if len(shape) == 3 else [-1, num_values]
        self._constant(f"{inner}.s", np.array(rows, np.int64))
        self._add("Conv", [f"mean{stride}", f"{inner}.w", f"{inner}.b"], f"{inner}.c")
        self._add("Transpose", [f"{inner}.c"], f"{inner}.t", perm=[0, 2, 3, 1])
        self._add("Reshape", [f"{inner}.t", f"{inner}.s"], f"{inner}.r" if sigmoid else name)
        if sigmoid:
            self._add("Sigmoid", [f"{inner}.r"], name)
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def save(self, path: Path) -> Path:
        """Writes the file."""
        graph = helper.make_graph(self._nodes, "face", [self._input], self._outputs, self._constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), path)
        return path

    def _add(self, operation: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(operation, inputs, [output], **attributes))

    def _constant(self, name: str, value: npt.NDArray[Any]) -> None:
        self._constants.append(numpy_helper.from_array(value, name))


def write_scrfd(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    points: bool = True,
    batched: bool = False,
    declared_rows: int | None = None,
    red: float = 3.0,
) -> Path:
    """A file as insightface publishes them: outputs by kind, then stride, of numbers for names.

    Args:
        path: of the file.
        size: (height, width) of the images; None: any.
        points: 9 outputs, else 6.
        batched: whether outputs have a batch dimension.
        declared_rows: number of rows that the file claims, right or not; None: left open.
        red: weight of red in the logit of the first anchor of a cell.
    """
    maker = GraphMaker([1, 3, *(size or ("?", "?"))])
    number = 440
    for num_values in (1, 4, 10)[: 2 + points]:
        for stride in STRIDES:
            rows: int | str = declared_rows or f"rows{number}"
            shape: Shape = [1, rows, num_values] if batched else [rows, num_values]
            weights = np.zeros((2 * num_values, 3))
            if num_values == 1:
                biases = np.full(2, NEVER)
                if stride == FACE_STRIDE:
                    weights[0, 0], biases[0] = red, 0  # the second anchor of a cell never is a face
            else:
                biases = np.tile(BOX if num_values == 4 else POINTS, 2)
            maker.add_head(
                str(number := number + 3), stride, num_values=num_values, weights=weights, biases=biases,
                sigmoid=num_values == 1, shape=shape,
            )  # fmt: skip
    return maker.save(path)


def write_yunet(path: Path, *, size: tuple[int, int] | None = None, objectness: float = 0.5) -> Path:
    """A file as YuNet's makers publish them; red decides on the class, the objectness is the same everywhere."""
    maker = GraphMaker([1, 3, *size] if size else ["batch", 3, "height", "width"])
    for kind, num_values in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in STRIDES:
            weights = np.zeros((num_values, 3))
            biases = {"bbox": np.array(YUNET_BOX), "kps": np.array(POINTS)}.get(kind, np.array([NEVER]))
            if kind == "cls" and stride == FACE_STRIDE:
                weights[0, 2], biases = 6 / 255, np.array([-3.0])  # blue, green, red
            if kind == "obj":
                biases = np.array([np.log(objectness / (1 - objectness))])
            maker.add_head(
                f"{kind}_{stride}", stride, num_values=num_values, weights=weights, biases=biases,
                sigmoid=num_values == 1, shape=[1 if size else "batch", "dim", num_values],
            )  # fmt: skip
    return maker.save(path)


def red_cell(height: int, width: int, *, row: int, column: int, scale: int = 1) -> npt.NDArray[np.uint8]:
    """A black image (H, W, 3) RGB with one red cell of stride 16 times scale, and a blue one in the first cell."""
    side = FACE_STRIDE * scale
    image = np.zeros((height, width, 3), np.uint8)
    image[:side, :side, 2] = 255
    image[row * side : (row + 1) * side, column * side : (column + 1) * side, 0] = 255
    return image
