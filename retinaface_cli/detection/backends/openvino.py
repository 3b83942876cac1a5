"""Networks in OpenVINO, on the CPU."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from retinaface_cli.detection.backends.image_network import trace
from retinaface_cli.detection.network_files.graph import AnyArray, Graph, TensorSpec
from retinaface_cli.errors import CheckpointError, reason_of, shown
from retinaface_cli.model.checkpoints.loading import LoadedWeights

_REPORTER = "openvino_telemetry"

_PRECISIONS = {"32": "f32", "bf16": "bf16"}
_DTYPES = {"f32": "float32", "f16": "float16", "f64": "float64", "u8": "uint8", "i64": "int64", "i32": "int32"}

_METADATA = "framework"
"""Where OpenVINO keeps what an ONNX file says of itself."""


class OpenVinoGraph(Graph):
    """A graph in OpenVINO on the CPU, on as many threads as torch has."""

    def __init__(
        self, model: Any, *, precision: str = "32", in_parallel: bool = False, any_batch: bool = False
    ) -> None:
        """Makes a model ready to run.

        Args:
            model: of OpenVINO, see read_model and convert; its input is changed to one image a time.
            precision: "32" or "bf16".
            in_parallel: whether several threads will run it at once.
            any_batch: whether it takes several images at once too.

        Raises:
            CheckpointError: OpenVINO cannot run it on a CPU.
        """
        self.description = f"OpenVINO, {precision}"
        self.metadata = _read_metadata(model)
        settings = {
            "PERFORMANCE_HINT": "THROUGHPUT" if in_parallel else "LATENCY",
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # the threads that read images would wait for a core
        }
        try:
            if not any_batch:
                _fix_batch(model)
            self._model = _core().compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise CheckpointError(f"OpenVINO cannot run the graph ({reason_of(error)})") from None
        self.inputs = [_spec(one) for one in self._model.inputs]
        self.outputs = [_spec(one) for one in self._model.outputs]
        self._requests = threading.local()
        self.num_parallel = int(self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) if in_parallel else 1

    def run(self, array: AnyArray) -> list[AnyArray]:
        """Runs the graph; see Graph."""
        request = self._request()
        request.infer([array], share_inputs=True)
        return [request.get_output_tensor(index).data for index in range(len(self.outputs))]

    def _request(self) -> Any:
        """This thread's own inputs and outputs."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        return self._requests.own


def read_model(model: Path | bytes) -> Any:
    """A model of OpenVINO from an .xml or .onnx file, or the content of the latter.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        return _core().read_model(model if isinstance(model, bytes) else str(model))
    except RuntimeError as error:
        name = "graph" if isinstance(model, bytes) else shown(model)
        raise CheckpointError(f"{name}: OpenVINO cannot read it ({reason_of(error)})") from None


def convert(weights: LoadedWeights, image_size: tuple[int, int] | None = None, *, is_padded: bool = False) -> Any:
    """The network as a model of OpenVINO for any number of images of (height, width), or of any size; see ImageNetwork.

    By way of the frontend, since openvino.convert_model reports each conversion to its makers, from processes that it
    starts for that.
    """
    _core()  # before the modules below, whose import would be reported
    from openvino import PartialShape
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    decoder = TorchScriptPythonDecoder(trace(weights, is_padded=is_padded))  # must outlive the conversion
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.reshape(PartialShape([-1, *(image_size or (-1, -1)), 3]))
    return model


def save_model(model: Any, path: Path, *, metadata: Mapping[str, str], half: bool) -> None:
    """Writes a model as path.xml and path.bin, the weights in 16 bits or in 32; not atomic."""
    from openvino import save_model

    for key, value in metadata.items():
        model.set_rt_info(value, [_METADATA, key])
    save_model(model, str(path), compress_to_fp16=half)


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


def _fix_batch(model: Any) -> None:
    """Makes the input one image a time, where the model leaves their number open."""
    shape = model.inputs[0].get_partial_shape()
    if len(model.inputs) == 1 and shape.rank.is_static and len(shape) == 4 and shape[0].is_dynamic:
        shape[0] = 1
        model.reshape(shape)


def _read_metadata(model: Any) -> dict[str, str]:
    if not model.has_rt_info(_METADATA):
        return {}
    return {key: str(getattr(value, "value", value)) for key, value in model.get_rt_info(_METADATA).value.items()}


def _spec(tensor: Any) -> TensorSpec:
    """A tensor as OpenVINO describes it."""
    shape = tensor.get_partial_shape()
    sizes = tuple(size.get_length() if size.is_static else None for size in shape) if shape.rank.is_static else ()
    kind = tensor.get_element_type().get_type_name()
    return TensorSpec(tensor.get_any_name() if tensor.get_names() else "", sizes, _DTYPES.get(kind, kind))
