"""The libraries that can run a network over pictures, behind one call."""

from __future__ import annotations

import importlib.util
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from retinaface_cli.data.preprocessing import RgbImage
from retinaface_cli.errors import SettingsError
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.geometry.anchors import generate_anchors
from retinaface_cli.model.checkpoints import LoadedWeights
from retinaface_cli.model.folding import fold_batch_norm, fold_preprocessing
from retinaface_cli.model.inference_network import InferenceNetwork
from retinaface_cli.model.outputs import HeadOutputs

Backend = Literal["auto", "torch", "openvino"]
Precision = Literal["32", "bf16", "fp16"]


class ForwardPass(Protocol):
    """A network that is ready to run."""

    num_parallel: int
    """Threads that may call it at once, and should where there is enough to do."""

    def __call__(self, images: Sequence[RgbImage]) -> Iterator[tuple[HeadOutputs, Tensor]]:
        """Runs pictures (H, W, 3) uint8 RGB of any sizes.

        Returns:
            In their order, the outputs of one or several of them together with the anchors (A, 4) as (cx, cy, w, h)
            that they refer to, in pixels of the pictures.
        """


_DTYPES: dict[str, torch.dtype] = {"32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_HEAD_SIZES = (2, 4, 2 * NUM_LANDMARKS)
"""Values an anchor of the parts of HeadOutputs."""

_OPENVINO_PRECISIONS = {"32": "f32", "bf16": "bf16"}


def resolve_backend(backend: Backend, device: torch.device) -> Literal["torch", "openvino"]:
    """The backend by name; "auto" is OpenVINO on a CPU where it is installed, else torch.

    Raises:
        SettingsError: the backend is not installed, or not for this device.
    """
    is_installed = importlib.util.find_spec("openvino") is not None
    if backend == "auto":
        return "openvino" if device.type == "cpu" and is_installed else "torch"
    if backend == "openvino" and device.type != "cpu":
        raise SettingsError(f"backend openvino runs on the CPU, not on {device.type}; take torch, or device cpu")
    if backend == "openvino" and not is_installed:
        raise SettingsError("backend openvino is not installed; get it with: pip install 'retinaface-cli[openvino]'")
    return backend


def build_forward_pass(
    weights: LoadedWeights, *, backend: Backend, device: torch.device, precision: Precision, in_parallel: bool
) -> ForwardPass:
    """Makes the network of the weights ready to run.

    Args:
        weights: of the network.
        backend: which library runs it.
        device: where.
        precision: number format in the network.
        in_parallel: whether several threads will call it at once, where the backend is faster so; the pictures then
            take longer one by one, and less all together.

    Raises:
        SettingsError: the device cannot compute in this precision, or the backend is not there.
    """
    if precision == "fp16" and device.type == "cpu":
        raise SettingsError("precision fp16 needs a GPU; on the CPU take 32 or bf16")
    if resolve_backend(backend, device) == "openvino":
        return OpenVinoForward(weights, precision=precision, in_parallel=in_parallel)
    return TorchForward(weights, device=device, precision=precision)


class TorchForward:
    """PyTorch: all pictures as one padded batch."""

    num_parallel = 1

    def __init__(self, weights: LoadedWeights, *, device: torch.device, precision: Precision) -> None:
        self._network = InferenceNetwork(weights.build(), weights.network, device=device, dtype=_DTYPES[precision])

    def __call__(self, images: Sequence[RgbImage]) -> Iterator[tuple[HeadOutputs, Tensor]]:
        """Runs the pictures; see ForwardPass."""
        yield self._network(images)


class OpenVinoForward:
    """OpenVINO on the CPU: one picture after another, as it is, on as many threads as torch has."""

    def __init__(self, weights: LoadedWeights, *, precision: Precision, in_parallel: bool) -> None:
        import openvino

        self._anchors = weights.network.anchors
        settings = {
            "PERFORMANCE_HINT": "THROUGHPUT" if in_parallel else "LATENCY",
            "INFERENCE_PRECISION_HINT": _OPENVINO_PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # the threads that read pictures would wait for a core
        }
        self._model = openvino.Core().compile_model(_convert(_PictureNetwork(weights)), "CPU", settings)
        self._requests = threading.local()
        self.num_parallel = int(self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) if in_parallel else 1

    def __call__(self, images: Sequence[RgbImage]) -> Iterator[tuple[HeadOutputs, Tensor]]:
        """Runs the pictures; see ForwardPass. The outputs of a picture hold until the next one is asked for."""
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


def _convert(network: _PictureNetwork) -> Any:
    """The network as a model of OpenVINO for one picture of any size.

    By way of the frontend, since openvino.convert_model reports each conversion to its makers, from processes that it
    starts for that.
    """
    from openvino import PartialShape
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of itself and of each size that is read
        example = torch.zeros(1, 64, 96, 3, dtype=torch.uint8)
        traced = torch.jit.trace(network.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
        decoder = TorchScriptPythonDecoder(traced)  # must outlive the conversion
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model.reshape(PartialShape([1, -1, -1, 3]))
    return model


class _PictureNetwork(nn.Module):
    """The folded network from RGB pictures on, with one head a level that does the work of three."""

    mean: Tensor

    def __init__(self, weights: LoadedWeights) -> None:
        super().__init__()
        preprocessing = weights.network.preprocessing
        self.network = fold_preprocessing(fold_batch_norm(weights.build()), preprocessing)
        self.num_per_cell = weights.network.anchors.num_per_cell
        heads = (self.network.class_heads, self.network.box_heads, self.network.landmark_heads)
        self.heads = nn.ModuleList(_concatenate(level) for level in zip(*heads, strict=True))
        self.register_buffer("mean", torch.tensor(preprocessing.mean_rgb)[:, None, None])

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> HeadOutputs:
        """The outputs for pictures of one size."""
        planes = images.permute(0, 3, 1, 2).float()  # (B, 3, H, W), in which OpenVINO subtracts much faster
        levels = self.network.features(planes - self.mean)
        merged = [head(level).permute(0, 2, 3, 1) for head, level in zip(self.heads, levels, strict=True)]
        logits, boxes, points = (
            torch.cat([values.reshape(values.shape[0], -1, size) for values in part], dim=1)  # (B, A, size)
            for part, size in zip(self._split(merged), _HEAD_SIZES, strict=True)
        )
        return HeadOutputs(logits, boxes, points.reshape(points.shape[0], -1, NUM_LANDMARKS, 2))

    def _split(self, merged: Sequence[Float[Tensor, "B rows columns K"]]) -> Iterator[list[Tensor]]:
        """The part of each head, all levels."""
        widths = [size * self.num_per_cell for size in _HEAD_SIZES]
        return map(list, zip(*(torch.split(values, widths, dim=-1) for values in merged), strict=True))


def _concatenate(convolutions: Sequence[nn.Module]) -> nn.Conv2d:
    """One 1x1 convolution that gives the outputs of several one after another."""
    states = [one.state_dict() for one in convolutions]
    weight, bias = (torch.cat([state[name] for state in states]) for name in ("weight", "bias"))
    merged = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    merged.load_state_dict({"weight": weight, "bias": bias})
    return merged
