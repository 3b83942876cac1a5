"""Networks as files: ONNX, and OpenVINO's .xml with its .bin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from retinaface_cli.detection.backends import is_installed
from retinaface_cli.detection.backends.end_to_end import OUTPUT_NAMES, EndToEndNetwork
from retinaface_cli.detection.backends.image_network import ImageNetwork
from retinaface_cli.detection.backends.onnx import OnnxGraph
from retinaface_cli.detection.backends.onnx_export import export_onnx, finish_onnx
from retinaface_cli.detection.backends.openvino import OpenVinoGraph, convert, read_model, save_model
from retinaface_cli.detection.network_files import Graph
from retinaface_cli.detection.network_files.own import describe_network
from retinaface_cli.detection.weights import licence_of
from retinaface_cli.errors import SettingsError
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.settings.export import ExportSettings


def check_packages(settings: ExportSettings) -> None:
    """Raises SettingsError unless what makes and runs the file is installed."""
    if settings.is_openvino and not is_installed("openvino"):
        raise SettingsError("OpenVINO files need the package openvino: pip install 'retinaface-cli[openvino]'")
    if not settings.is_openvino and not (is_installed("onnx") or is_installed("openvino")):
        raise SettingsError("ONNX files are compared with torch in a runtime: pip install 'retinaface-cli[onnx]'")


def make_file(weights: LoadedWeights, settings: ExportSettings, path: Path) -> None:
    """Writes the network as an .onnx file, or as an .xml file with a .bin beside it; not atomic.

    Raises:
        SettingsError: the package onnx is not installed, which is needed for all files but raw heads for OpenVINO.
    """
    metadata = describe_network(
        weights.network,
        end_to_end=settings.suppression if settings.end2end else None,
        licence=settings.licence or licence_of(weights),
        weights_sha256=weights.sha256,
    )
    if settings.is_openvino:
        model = read_model(_to_onnx(weights, settings)) if settings.end2end else convert(weights, settings.size)
        save_model(model, path, metadata=metadata, half=settings.half)
    else:
        path.write_bytes(finish_onnx(_to_onnx(weights, settings), metadata=metadata, half=settings.half))


def _to_onnx(weights: LoadedWeights, settings: ExportSettings) -> bytes:
    if settings.end2end:
        network = EndToEndNetwork(weights, settings)
        return export_onnx(network, output_names=OUTPUT_NAMES, opset=settings.opset, image_size=settings.size)
    return export_onnx(ImageNetwork(weights), opset=settings.opset, image_size=settings.size)


def open_file(path: Path) -> Iterator[Graph]:
    """The file in each runtime that is installed and runs it, for any number of images."""
    if path.suffix == ".onnx" and is_installed("onnx"):
        yield OnnxGraph(path)
    if is_installed("openvino"):
        yield OpenVinoGraph(read_model(path), any_batch=True)
