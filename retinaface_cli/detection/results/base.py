"""What every kind of results has in common: what a run asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import ExitStack

from retinaface_cli.data.reading import Image, UnreadableImage
from retinaface_cli.data.sources import Part, Source, Work
from retinaface_cli.faces import FaceDetections, RgbImage
from retinaface_cli.files.outputs import OutputFolder
from retinaface_cli.formats import FaceTable
from retinaface_cli.settings.detection import InferSettings


class Results(ABC):
    """Where the results of a run go, and which of them are there already.

    Attributes:
        folder: that they are written in.
        settings: of the run.
        max_listed_failures: of the images that cannot be read so many are kept in memory; None: all, for write_errors.
    """

    max_listed_failures: int | None = None

    def __init__(self, folder: OutputFolder, settings: InferSettings) -> None:
        self.folder = folder
        self.settings = settings
        self._refused: list[UnreadableImage] = []

    @classmethod
    @abstractmethod
    def places(cls, settings: InferSettings) -> list[str]:
        """The files, and the folders (`labels/`), that are written in any case."""

    @abstractmethod
    def has_part(self, part: Part) -> bool:
        """Whether all results of a part are there, made of its files as they are now."""

    @abstractmethod
    def has(self, source: Source) -> bool:
        """Whether all results of an image or video are there; called for each in the order of its part."""

    def begin_part(self, part: Part) -> None:  # noqa: B027  not all results need it
        """Is called before the first image of a part."""

    @abstractmethod
    def write(self, image: Image, faces: FaceDetections) -> bool:
        """Writes what was asked for of one image; frames of a video come in order.

        Returns:
            Whether it is written; what is not comes from take_refused.
        """

    def take_refused(self) -> list[UnreadableImage]:
        """The images, videos and shards that were not written, since a result's place is taken; each comes once."""
        refused, self._refused = self._refused, []
        return refused

    def write_failure(self, failure: UnreadableImage) -> None:  # noqa: B027
        """Notes that an image or video cannot be read."""

    @abstractmethod
    def end_part(self, part: Part) -> tuple[int, int]:
        """Ends a part, of which everything was written.

        Returns:
            Images and faces for which `write` said so and which are lost, since the part's place is taken.
        """

    @abstractmethod
    def close(self, *, complete: bool = True) -> None:
        """Ends the writing; what is in progress is given up where not all of it has come."""

    @abstractmethod
    def read_back(self, work: Work) -> FaceTable:
        """The detections of all images that are done, in input order; in one process, when all have ended."""

    @abstractmethod
    def count_missing(self, work: Work, failures: Iterable[UnreadableImage]) -> int:
        """How much could be read and has no results; images and videos, or parts."""

    def remove_rest(self, work: Work) -> None:  # noqa: B027
        """Removes results of an earlier run that would be taken for those of this one, which has come to its end."""

    @abstractmethod
    def write_errors(self, work: Work, failures: Iterable[UnreadableImage]) -> None:
        """Writes errors.json, where anything could not be read."""


class _IncompleteError(Exception):
    """Makes the files go whose content is not complete."""


def close_files(files: ExitStack, *, complete: bool) -> None:
    """Gives the files of OutputFolder.new_file their names, or removes them if they are not complete."""
    if complete:
        files.close()
        return
    try:
        with files:
            raise _IncompleteError
    except _IncompleteError:
        pass


def original_of(image: Image) -> RgbImage:
    """The pixels of an image, (H, W, 3), that was read with keep_original."""
    if image.original is None:
        raise ValueError("images must be read with keep_original to be drawn or cropped")
    return image.original
