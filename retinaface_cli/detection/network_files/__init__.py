"""Networks in files that a runtime opens, our own and those of others, told by what they put out.

FAMILIES is the table of those of others; a new one is one file and one line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from retinaface_cli.detection.network_files import own, scrfd, yunet
from retinaface_cli.detection.network_files.family import Family
from retinaface_cli.detection.network_files.graph import AnyArray, Graph, TensorSpec
from retinaface_cli.errors import CheckpointError, reason_of, shown, some_of

FAMILIES: dict[str, Callable[[Sequence[tuple[int, ...]], tuple[int, int]], Family | None]] = {
    "SCRFD (6 or 9 outputs: scores, boxes and points at strides 8, 16, 32, two anchors a cell)": scrfd.recognise,
    "YuNet (12 outputs: classes, objectness, boxes and points at strides 8, 16, 32)": yunet.recognise,
}
"""How networks of others are recognised by the shapes of their outputs for an image of (height, width)."""

_PROBE_SIZE = (64, 96)
"""(height, width) of the image by which a network is recognised, where it takes any."""

_listed = partial(some_of, max_listed=12)


@dataclass(frozen=True)
class NetworkFile:
    """A network in an .onnx or .xml file.

    Attributes:
        path: of the file.
        family: how it is used.
        image_size: (height, width) of the only images that it takes; None: any.
        sha256: of the file, of an .xml with its .bin, in hexadecimal.
        notes: sentences for the user to read.
    """

    path: Path
    family: Family
    image_size: tuple[int, int] | None
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that it consists of."""
        return files_of(self.path)


def files_of(path: Path) -> tuple[Path, ...]:
    """The files of a network that is named by one of them: OpenVINO's .xml has a .bin beside it."""
    return (path, path.with_suffix(".bin")) if path.suffix.lower() == ".xml" else (path,)


def recognise(graph: Graph, *, path: Path) -> Family:
    """The family that a graph belongs to, by what its file says, else by what it puts out for a black image.

    Raises:
        CheckpointError: it is none of ours and of no known family.
    """
    family = own.recognise(graph.metadata, source=shown(path))
    if family is not None:
        return family
    image_size, shapes = _probe(graph, path)
    for recognise_family in FAMILIES.values():
        found = recognise_family(shapes, image_size)
        if found is not None:
            return found
    outputs = [f"{one.name} {shape}" for one, shape in zip(graph.outputs, shapes, strict=True)]
    raise _refusal(path, f"for an image of {image_size[1]}x{image_size[0]} it puts out {_listed(outputs)}")


def _probe(graph: Graph, path: Path) -> tuple[tuple[int, int], list[tuple[int, ...]]]:
    """The size of a black image (height, width), and the shapes of the outputs for it.

    Raises:
        CheckpointError: the graph takes no single image.
    """
    shape = graph.inputs[0].shape if len(graph.inputs) == 1 else ()
    is_image = len(shape) == 4 and shape[0] in (1, None) and shape[1] in (3, None)
    if not is_image or (shape[2] is None) != (shape[3] is None) or not graph.inputs[0].dtype.startswith("float"):
        inputs = [one.describe() for one in graph.inputs]
        raise _refusal(
            path, f"it takes {_listed(inputs)}, and puts out {_listed([o.describe() for o in graph.outputs])}"
        )
    size = (shape[2] or _PROBE_SIZE[0], shape[3] or _PROBE_SIZE[1])
    black: AnyArray = np.zeros((1, 3, *size), graph.inputs[0].dtype)
    try:
        return size, [output.shape for output in graph.run(black)]
    except Exception as error:  # of whatever kind the runtime has
        raise _refusal(path, f"it does not run on an image of {size[1]}x{size[0]} ({reason_of(error)})") from None


def _refusal(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"{shown(path)}: no network that this tool can use: {found}; expected a file of `retinaface export` with raw "
        f"heads, or an image (1, 3, height, width) of floats into {', or '.join(FAMILIES)}"
    )


__all__ = ["FAMILIES", "Family", "Graph", "NetworkFile", "TensorSpec", "recognise"]
