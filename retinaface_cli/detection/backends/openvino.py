"""The forward pass with OpenVINO, on the CPU."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from retinaface_cli.data.preprocessing import RgbImage
from retinaface_cli.detection.backends.image_network import trace
from retinaface_cli.geometry.anchors import generate_anchors
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.model.networks.outputs import HeadOutputs

_REPORTER = "openvino_telemetry"

_PRECISIONS = {"32": "f32", "bf16": "bf16"}


class OpenVinoForward:
    """OpenVINO on the CPU: one image after another, as it is, on as many threads as torch has."""

    prefers_few_shapes = False  # images go one by one

    def __init__(self, weights: LoadedWeights, *, precision: str, in_parallel: bool) -> None:
        self.description = f"OpenVINO, {precision}"
        self._anchors = weights.network.anchors
        settings = {
            "PERFORMANCE_HINT": "THROUGHPUT" if in_parallel else "LATENCY",
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # the threads that read images would wait for a core
        }
        self._model = _core().compile_model(_convert(weights), "CPU", settings)
        self._requests = threading.local()
        self.num_parallel = int(self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) if in_parallel else 1

    def __call__(self, images: Sequence[RgbImage]) -> Iterator[tuple[HeadOutputs, Tensor]]:
        """Runs the images; see ForwardPass. The outputs of an image hold until the next one is asked for."""
        request = self._request()
        for image in images:
            request.infer([image[None]], share_inputs=True)
            outputs = (torch.from_numpy(request.get_output_tensor(index).data) for index in range(3))
            size = (image.shape[0], image.shape[1])
            yield HeadOutputs(*outputs), generate_anchors(size, self._anchors.sizes, self._anchors.strides)

    def _request(self) -> Any:
        """This thread's own inputs and outputs."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        return self._requests.own


@functools.cache
def _core() -> Any:
    """OpenVINO itself, once a process.

    Each one gives signal handlers a stack of its own, and on its end puts back the one that it found; where that was of
    another one that has ended before, the next signal would crash the process. OpenVINO reports each import to its
    makers, except where the package by which it does so cannot be imported.
    """
    reporter = sys.modules.get(_REPORTER)
    sys.modules[_REPORTER] = None  # type: ignore[assignment]
    try:
        from openvino import Core
    finally:
        del sys.modules[_REPORTER]
        if reporter is not None:
            sys.modules[_REPORTER] = reporter
    return Core()


def _convert(weights: LoadedWeights) -> Any:
    """The network as a model of OpenVINO for one image of any size.

    By way of the frontend, since openvino.convert_model reports each conversion to its makers, from processes that it
    starts for that.
    """
    from openvino import PartialShape
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    decoder = TorchScriptPythonDecoder(trace(weights))  # must outlive the conversion
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.reshape(PartialShape([1, -1, -1, 3]))
    return model
