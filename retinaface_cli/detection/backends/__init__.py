"""The libraries that can run a network over images, behind one call."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from retinaface_cli.data.preprocessing import RgbImage
from retinaface_cli.detection.backends.onnx import OnnxForward
from retinaface_cli.detection.backends.openvino import OpenVinoForward
from retinaface_cli.detection.cpu_memory import keep_prepared_operations
from retinaface_cli.detection.cpu_threads import num_parallel_calls
from retinaface_cli.errors import SettingsError
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.model.networks.inference import InferenceNetwork
from retinaface_cli.model.networks.outputs import HeadOutputs

Backend = Literal["auto", "torch", "openvino", "onnx"]
Precision = Literal["auto", "32", "16", "bf16"]


class ForwardPass(Protocol):
    """A network that is ready to run."""

    description: str
    """Library and precision, for the user to read."""

    num_parallel: int
    """Threads that may call it at once, and should where there is enough to do; torch's threads are to be dealt out to
    them."""

    prefers_few_shapes: bool
    """Whether a number of images that it has not had before costs it time."""

    def __call__(self, images: Sequence[RgbImage]) -> Iterator[tuple[HeadOutputs, Tensor]]:
        """Runs images (H, W, 3) uint8 RGB of any sizes.

        Returns:
            In their order, the outputs of one or several of them together with the anchors (A, 4) as (cx, cy, w, h)
            that they refer to, in pixels of the images.
        """


_DTYPES: dict[str, torch.dtype] = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
_CPU_PACKAGES: dict[Backend, str] = {"openvino": "openvino", "onnx": "onnxruntime"}
"""Backends for the CPU, the fastest first, and the package that each needs."""


def resolve_backend(backend: Backend, device: torch.device, precision: Precision) -> Backend:
    """The backend by name; "auto" is the first of OpenVINO and ONNX Runtime that is installed, on a GPU torch.

    Raises:
        SettingsError: the backend is not installed, or not for this device.
    """
    if backend == "torch" or (backend == "auto" and device.type != "cpu"):
        return "torch"
    if backend == "auto":
        usable = [name for name in _CPU_PACKAGES if _is_installed(name) and (name != "onnx" or precision == "32")]
        return next(iter(usable), "torch")
    if device.type != "cpu":
        raise SettingsError(f"backend {backend} runs on the CPU, not on {device.type}; take torch, or device cpu")
    if not _is_installed(backend):
        raise SettingsError(f"backend {backend} is not installed; get it with: pip install 'retinaface-cli[{backend}]'")
    return backend


def resolve_precision(precision: Precision, device: torch.device, backend: Backend) -> Precision:
    """The precision by name; "auto" is bf16 on a CPU that has instructions for it, where the backend can, else 32."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cpu" and backend != "onnx" and _has_native_bf16() else "32"


def _has_native_bf16() -> bool:
    """Whether this CPU multiplies in bf16; "no" where torch is too old to tell."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def _is_installed(backend: Backend) -> bool:
    return importlib.util.find_spec(_CPU_PACKAGES[backend]) is not None


def build_forward_pass(
    weights: LoadedWeights, *, backend: Backend, device: torch.device, precision: Precision, in_parallel: bool
) -> ForwardPass:
    """Makes the network of the weights ready to run.

    Args:
        weights: of the network.
        backend: which library runs it.
        device: where.
        precision: number format in the network; see resolve_precision for "auto".
        in_parallel: whether several threads will call it at once, where the backend is faster so; the images then
            take longer one by one, and less all together.

    Raises:
        SettingsError: the device cannot compute in this precision, or the backend is not there.
    """
    if precision == "16" and device.type == "cpu":
        raise SettingsError("precision 16 needs a GPU; on the CPU take 32 or bf16")
    precision = resolve_precision(precision, device, backend)
    resolved = resolve_backend(backend, device, precision)
    if resolved == "openvino":
        return OpenVinoForward(weights, precision=precision, in_parallel=in_parallel)
    if resolved == "onnx":
        return OnnxForward(weights, precision=precision, in_parallel=in_parallel)
    return TorchForward(weights, device=device, precision=precision, in_parallel=in_parallel)


class TorchForward:
    """PyTorch: all images of a call as one padded batch, on as many threads as the calling thread has."""

    def __init__(
        self, weights: LoadedWeights, *, device: torch.device, precision: Precision, in_parallel: bool
    ) -> None:
        if device.type == "cpu":
            keep_prepared_operations()
        self.description = f"torch, {precision}"
        self._network = InferenceNetwork(weights.build(), weights.network, device=device, dtype=_DTYPES[precision])
        self.num_parallel = num_parallel_calls() if in_parallel and device.type == "cpu" else 1
        self.prefers_few_shapes = device.type == "cpu"  # oneDNN prepares itself for each

    def __call__(self, images: Sequence[RgbImage]) -> Iterator[tuple[HeadOutputs, Tensor]]:
        """Runs the images; see ForwardPass."""
        yield self._network(images)
