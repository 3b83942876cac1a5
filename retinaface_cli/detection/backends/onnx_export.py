"""Networks as ONNX files: the one way in which they are made, for a user or for a run."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from retinaface_cli.detection.backends.image_network import example_image
from retinaface_cli.errors import SettingsError
from retinaface_cli.model.networks.outputs import HeadOutputs

DEFAULT_OPSET = 17


def export_onnx(
    network: nn.Module,
    *,
    output_names: tuple[str, ...] = HeadOutputs._fields,
    opset: int = DEFAULT_OPSET,
    image_size: tuple[int, int] | None = None,
) -> bytes:
    """A network as the content of an ONNX file with the input `images`; their number is open.

    Args:
        network: images (B, H, W, 3) uint8 RGB to tensors, see ImageNetwork and EndToEndNetwork.
        output_names: of the tensors.
        opset: version of the operators.
        image_size: (height, width) of the images; None: any.

    Raises:
        SettingsError: the package onnx is not installed.
    """
    axes = {0: "batch"} if image_size else {0: "batch", 1: "height", 2: "width"}
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself and of each size that is read
        try:
            torch.onnx.export(
                network.eval(),
                (example_image(image_size),),
                file,  # type: ignore[arg-type]
                input_names=["images"],
                output_names=list(output_names),
                dynamic_axes={"images": axes, **{name: {0: "batch"} for name in output_names}},
                opset_version=opset,
                dynamo=False,  # the other exporter wants one more package
            )
        except torch.onnx.OnnxExporterError as error:
            if "not installed" not in str(error):
                raise
            raise SettingsError("ONNX files need the package onnx: pip install 'retinaface-cli[onnx]'") from None
    return file.getvalue()


def finish_onnx(content: bytes, *, metadata: Mapping[str, str], half: bool) -> bytes:
    """An ONNX file with metadata; if `half`, its weights in 16 bits, from which the runtime makes 32 when it opens it.

    Biases and other small vectors stay in 32 bits.
    """
    import onnx

    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, dict(metadata))
    large = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT and len(one.dims) > 1]
    for tensor in large if half else ():
        name = tensor.name
        values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, f"{name}_16"))
        model.graph.node.insert(0, onnx.helper.make_node("Cast", [f"{name}_16"], [name], to=onnx.TensorProto.FLOAT))
    onnx.checker.check_model(model)
    return model.SerializeToString()  # type: ignore[no-any-return]
