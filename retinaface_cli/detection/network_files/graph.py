"""A network as a graph that a runtime has opened: what goes in, what comes out, and what its file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

AnyArray = npt.NDArray[Any]


class TensorSpec(NamedTuple):
    """An input or output as the graph declares it.

    Attributes:
        name: of the tensor.
        shape: sizes; None where the graph leaves one open.
        dtype: numpy's name of the number format.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def describe(self) -> str:
        """`images (?, 3, 640, 640) float32`."""
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} ({sizes}) {self.dtype}"


class Graph(Protocol):
    """A graph that is ready to run; several threads may run it at once.

    Attributes:
        description: runtime and precision, for the user to read.
        num_parallel: threads that may run it at once, and should where there is enough to do.
        inputs: as declared.
        outputs: as declared.
        metadata: what its maker wrote into the file.
    """

    description: str
    num_parallel: int
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    metadata: Mapping[str, str]

    def run(self, array: AnyArray) -> list[AnyArray]:
        """The outputs for the first input, in declared order; they hold until this thread's next call."""
