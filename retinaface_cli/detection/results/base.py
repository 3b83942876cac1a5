"""What every kind of results has in common: what a run asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from retinaface_cli.data.reading import Image, UnreadableImage
from retinaface_cli.data.sources import Part, Source
from retinaface_cli.faces import FaceDetections, ImageDetections
from retinaface_cli.files.outputs import OutputFolder
from retinaface_cli.settings.detection import InferSettings


class Results(ABC):
    """Where the results of a run go, and which of them are there already.

    Attributes:
        folder: that they are written in.
        settings: of the run.
    """

    def __init__(self, folder: OutputFolder, settings: InferSettings) -> None:
        self.folder = folder
        self.settings = settings

    @abstractmethod
    def has_part(self, part: Part) -> bool:
        """Whether all results of a part are there, made of its files as they are now."""

    @abstractmethod
    def has(self, source: Source) -> bool:
        """Whether all results of an image or video are there; called for each in the order of its part."""

    @abstractmethod
    def write(self, image: Image, faces: FaceDetections) -> None:
        """Writes what was asked for of one image; frames of a video come in order."""

    @abstractmethod
    def write_failure(self, failure: UnreadableImage) -> None:
        """Notes that an image or video cannot be read."""

    @abstractmethod
    def end_part(self, part: Part) -> None:
        """Ends a part, of which everything was written."""

    @abstractmethod
    def close(self, *, complete: bool = True) -> None:
        """Ends the writing; what is in progress is given up where not all of it has come."""

    @abstractmethod
    def is_done(self, source: Source) -> bool:
        """Whether an image, video or shard has its results; to be asked when all processes have ended."""

    @abstractmethod
    def read_back(self, done: Iterable[Source]) -> Iterator[ImageDetections]:
        """The detections of sources that are done, in their order."""

    @abstractmethod
    def write_errors(self, failures: Iterable[UnreadableImage]) -> None:
        """Writes errors.json, where anything could not be read; in the first process, when all have ended."""
