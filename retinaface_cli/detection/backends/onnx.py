"""Networks in ONNX Runtime, on the CPU."""

from __future__ import annotations

from pathlib import Path

from retinaface_cli.detection.cpu import num_parallel_calls, threads_a_call
from retinaface_cli.detection.network_files.graph import AnyArray, Graph, TensorSpec
from retinaface_cli.errors import CheckpointError, SettingsError, reason_of, shown

_ERRORS_ONLY = 3

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class OnnxGraph(Graph):
    """A graph in ONNX Runtime on the CPU, on as many threads as torch has."""

    description = "ONNX Runtime, 32"

    def __init__(self, model: Path | bytes, *, precision: str = "32", in_parallel: bool = False) -> None:
        """Opens a graph.

        Args:
            model: an .onnx file, or its content.
            precision: only "32".
            in_parallel: whether several threads will run it at once.

        Raises:
            SettingsError: another precision.
            CheckpointError: no file that the runtime can open.
        """
        import onnxruntime

        if precision != "32":
            raise SettingsError(f"backend onnx computes in 32 bits, not in {precision}; take openvino or torch")
        options = onnxruntime.SessionOptions()
        self.num_parallel = num_parallel_calls() if in_parallel else 1
        options.intra_op_num_threads = threads_a_call(self.num_parallel)
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(
                model if isinstance(model, bytes) else str(model),
                sess_options=options,
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # the runtime has a dozen kinds, with no base of their own
            name = "graph" if isinstance(model, bytes) else shown(model)
            raise CheckpointError(f"{name}: ONNX Runtime cannot open it ({reason_of(error)})") from None
        self.inputs = [_spec(one) for one in self._session.get_inputs()]
        self.outputs = [_spec(one) for one in self._session.get_outputs()]
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, array: AnyArray) -> list[AnyArray]:
        """Runs the graph; see Graph."""
        return list(self._session.run(None, {self.inputs[0].name: array}))


def _spec(tensor: object) -> TensorSpec:
    """A tensor as ONNX Runtime describes it."""
    name, shape, kind = (getattr(tensor, part) for part in ("name", "shape", "type"))
    sizes = tuple(size if isinstance(size, int) and size >= 0 else None for size in shape or ())
    return TensorSpec(name, sizes, _DTYPES.get(kind) or kind.removeprefix("tensor(").removesuffix(")"))
