"""The forward pass with ONNX Runtime, on the CPU."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from retinaface_cli.data.preprocessing import RgbImage
from retinaface_cli.detection.backends.image_network import ImageNetwork, example_image
from retinaface_cli.detection.cpu import num_parallel_calls, threads_a_call
from retinaface_cli.errors import SettingsError
from retinaface_cli.geometry.anchors import generate_anchors
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.model.networks.outputs import HeadOutputs

_OPSET = 17
_ERRORS_ONLY = 3


class OnnxForward:
    """ONNX Runtime on the CPU: one image after another, as it is, on as many threads as torch has."""

    prefers_few_shapes = False  # images go one by one

    description = "ONNX Runtime, 32"

    def __init__(self, weights: LoadedWeights, *, precision: str, in_parallel: bool) -> None:
        import onnxruntime

        if precision != "32":
            raise SettingsError(f"backend onnx computes in 32 bits, not in {precision}; take openvino or torch")
        self._anchors = weights.network.anchors
        options = onnxruntime.SessionOptions()
        self.num_parallel = num_parallel_calls() if in_parallel else 1
        options.intra_op_num_threads = threads_a_call(self.num_parallel)
        options.log_severity_level = _ERRORS_ONLY
        self._session = onnxruntime.InferenceSession(
            export_onnx(weights), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, images: Sequence[RgbImage]) -> Iterator[tuple[HeadOutputs, Tensor]]:
        """Runs the images; see ForwardPass."""
        for image in images:
            outputs = map(torch.from_numpy, self._session.run(None, {"images": image[None]}))
            size = (image.shape[0], image.shape[1])
            yield HeadOutputs(*outputs), generate_anchors(size, self._anchors.sizes, self._anchors.strides)


def export_onnx(weights: LoadedWeights) -> bytes:
    """The network as an ONNX file: RGB images (B, H, W, 3) uint8 of any size to the parts of HeadOutputs."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself and of each size that is read
        torch.onnx.export(
            ImageNetwork(weights).eval(),
            (example_image(),),
            file,  # type: ignore[arg-type]
            input_names=["images"],
            output_names=list(HeadOutputs._fields),
            dynamic_axes={"images": {0: "batch", 1: "height", 2: "width"}},
            opset_version=_OPSET,
            dynamo=False,  # the other exporter wants one more package
        )
    return file.getvalue()
