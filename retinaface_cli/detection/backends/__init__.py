"""The libraries that can run a network over images, behind one call."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from retinaface_cli.detection.backends.graph_forward import GraphForward
from retinaface_cli.detection.backends.image_network import ImageNetwork
from retinaface_cli.detection.backends.onnx import OnnxGraph
from retinaface_cli.detection.backends.onnx_export import export_onnx
from retinaface_cli.detection.backends.openvino import OpenVinoGraph, convert, read_model
from retinaface_cli.detection.cpu import keep_prepared_operations, num_parallel_calls
from retinaface_cli.detection.network_files import Graph, NetworkFile
from retinaface_cli.detection.network_files.own import family_of
from retinaface_cli.errors import SettingsError, shown
from retinaface_cli.faces import RgbImage
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.model.networks.inference import InferenceNetwork
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.settings.detection import Backend, DetectionSettings
from retinaface_cli.settings.precision import DetectorPrecisionName as Precision


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
"""Backends for the CPU, and the package that each needs."""

_MAX_PIXELS_A_PASS = 1 << 19
"""That torch takes at once on the CPU, where there are several images."""


def resolve_backend(
    backend: Backend, device: torch.device, precision: Precision, *, in_parallel: bool = False
) -> Backend:
    """The backend by name; "auto" is the faster one of OpenVINO and ONNX Runtime that is installed, on a GPU torch.

    ONNX Runtime is faster in 32 bits, where several threads run the network at once.

    Raises:
        SettingsError: the backend is not installed, or not for this device.
    """
    if backend == "torch" or (backend == "auto" and device.type != "cpu"):
        return "torch"
    if backend == "auto":
        fastest: list[Backend] = ["onnx", "openvino"] if in_parallel else ["openvino", "onnx"]
        if precision != "32" or importlib.util.find_spec("onnx") is None:  # the package that writes the graph down
            fastest.remove("onnx")
        return next(filter(is_installed, fastest), "torch")
    if device.type != "cpu":
        raise SettingsError(f"backend {backend} runs on the CPU, not on {device.type}; take torch, or device cpu")
    if not is_installed(backend):
        raise SettingsError(f"backend {backend} is not installed; get it with: pip install 'retinaface-cli[{backend}]'")
    return backend


def resolve_precision(precision: Precision, device: torch.device, backend: Backend) -> Precision:
    """The precision by name; "auto" is bf16 on a CPU that has instructions for it, where the backend can, else 32."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cpu" and backend != "onnx" and _has_native_bf16() else "32"


def _check_precision(precision: Precision, device: torch.device) -> None:
    """Raises SettingsError where the device does not compute in this precision."""
    if precision == "16" and device.type == "cpu":
        raise SettingsError("precision 16 needs a GPU; on the CPU take 32 or bf16")


def _has_native_bf16() -> bool:
    """Whether this CPU multiplies in bf16; "no" where torch is too old to tell."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def is_installed(backend: Backend) -> bool:
    """Whether the package of a backend for the CPU is there."""
    return importlib.util.find_spec(_CPU_PACKAGES[backend]) is not None


def build_forward_pass(
    weights: LoadedWeights | NetworkFile, settings: DetectionSettings, *, device: torch.device, in_parallel: bool
) -> ForwardPass:
    """Makes the network of the weights ready to run.

    Args:
        weights: of the network, or a file that a runtime opens.
        settings: their backend and precision; see resolve_precision for "auto".
        device: where it runs.
        in_parallel: whether several threads will call it at once, where the backend is faster so; the images then
            take longer one by one, and less all together.

    Raises:
        SettingsError: the device cannot compute in this precision, or the backend is not there.
    """
    if isinstance(weights, NetworkFile):
        return GraphForward(open_graph(weights.path, settings, in_parallel=in_parallel), weights.family)
    _check_precision(settings.precision, device)
    precision = resolve_precision(settings.precision, device, settings.backend)
    resolved = resolve_backend(settings.backend, device, precision, in_parallel=in_parallel)
    if resolved == "torch":
        return TorchForward(weights, device=device, precision=precision, in_parallel=in_parallel)
    # padding in the graph costs a twentieth of its time; an image is padded with the mean, which must be in whole steps
    is_padded = all(value.is_integer() for value in weights.network.preprocessing.mean)
    family = family_of(weights.network, is_padded=is_padded)
    if resolved == "openvino":
        model = convert(weights, is_padded=is_padded)
        graph: Graph = OpenVinoGraph(model, precision=precision, in_parallel=in_parallel)
    else:
        content = export_onnx(ImageNetwork(weights, is_padded=is_padded))
        graph = OnnxGraph(content, precision=precision, in_parallel=in_parallel)
    return GraphForward(graph, family)


def open_graph(path: Path, settings: DetectionSettings, *, in_parallel: bool = False) -> Graph:
    """Opens a network in an .onnx or .xml file, by default in the runtime that the file is made for.

    Args:
        path: of the file.
        settings: their backend and precision.
        in_parallel: see build_forward_pass.

    Raises:
        SettingsError: the backend does not run such files, is not installed, or does not compute in this precision.
        CheckpointError: it cannot be opened.
    """
    usable: list[Backend] = ["openvino"] if path.suffix.lower() == ".xml" else ["onnx", "openvino"]
    backend = settings.backend
    if backend == "auto":
        backend = next(filter(is_installed, usable), usable[0])
    if backend not in usable:
        raise SettingsError(f"{shown(path)}: is run by backend {' or '.join(usable)}, not by {backend}")
    cpu = torch.device("cpu")
    _check_precision(settings.precision, cpu)
    backend = resolve_backend(backend, cpu, settings.precision)
    precision = resolve_precision(settings.precision, cpu, backend)
    if backend == "onnx":
        return OnnxGraph(path, precision=precision, in_parallel=in_parallel)
    return OpenVinoGraph(read_model(path), precision=precision, in_parallel=in_parallel)


class TorchForward:
    """PyTorch: all images of a call as one padded batch; on the CPU, small images in batches and large ones one by one.

    There a batch of large images takes more time and twice the memory, for its features leave the caches, and a crop
    alone takes longer than its share of a batch.
    """

    def __init__(
        self, weights: LoadedWeights, *, device: torch.device, precision: Precision, in_parallel: bool
    ) -> None:
        if device.type == "cpu":
            keep_prepared_operations()
        self.description = f"torch, {precision}"
        self._network = InferenceNetwork(weights.build(), weights.network, device=device, dtype=_DTYPES[precision])
        self.num_parallel = num_parallel_calls() if in_parallel and device.type == "cpu" else 1
        self._is_on_cpu = device.type == "cpu"
        self.prefers_few_shapes = self._is_on_cpu  # oneDNN prepares itself for each

    def __call__(self, images: Sequence[RgbImage]) -> Iterator[tuple[HeadOutputs, Tensor]]:
        """Runs the images; see ForwardPass."""
        step = len(images)
        if self._is_on_cpu:
            step = max(1, _MAX_PIXELS_A_PASS // max(image.shape[0] * image.shape[1] for image in images))
        for start in range(0, len(images), step):
            yield self._network(images[start : start + step])
