"""Parts with a row an image: no file for one image, and a part is there as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from retinaface_cli.data.reading import Image, UnreadableImage
from retinaface_cli.data.sources import Part, Source, Work
from retinaface_cli.detection.alignment import align_faces
from retinaface_cli.detection.results.base import Results, close_files, original_of
from retinaface_cli.errors import PlaceTakenError
from retinaface_cli.faces import FaceDetections
from retinaface_cli.files.atomic import json_bytes
from retinaface_cli.files.outputs import OutputFolder
from retinaface_cli.formats import FaceTable
from retinaface_cli.formats.parts import (
    PART_SUFFIXES,
    PART_WRITERS,
    PARTS_FOLDER,
    AddRow,
    ImageRow,
    read_parts,
)
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.visualization.image_files import encode_image


class PartResults(Results):
    """`parts/part-00012.jsonl.gz` (or `.parquet`), and `errors/part-00012.jsonl` for what could not be read in it."""

    max_listed_failures = 10

    def __init__(self, folder: OutputFolder, settings: InferSettings) -> None:
        super().__init__(folder, settings)
        self._progress: _PartInProgress | None = None
        self._failures: list[UnreadableImage] = []

    @classmethod
    def places(cls, settings: InferSettings) -> list[str]:  # noqa: ARG003
        """The folders of parts and of their errors."""
        return [f"{PARTS_FOLDER}/", "errors/"]

    def path(self, number: int) -> Path:
        """Where a part lies."""
        return self.folder.root / PARTS_FOLDER / f"part-{number:05d}{PART_SUFFIXES[self.settings.part_format]}"

    def _name(self, number: int) -> str:
        return self.path(number).relative_to(self.folder.root).as_posix()

    def _errors_path(self, number: int) -> Path:
        return self.folder.root / "errors" / f"part-{number:05d}.jsonl"

    def has_part(self, part: Part) -> bool:
        """Whether a part is there, made of its files as they are now."""
        return self.folder.is_whole(self.path(part.number), source=part.stamp)

    def has(self, source: Source) -> bool:
        """No: a part is made as a whole."""
        return False

    def begin_part(self, part: Part) -> None:
        """Opens the file of a part; where something else is in its place, the part is given up and the others go on."""
        self._failures = []
        try:
            self._progress = _PartInProgress(self.path(part.number), part, self.folder, self.settings)
        except PlaceTakenError as error:
            self._refuse(part, error)

    def _refuse(self, part: Part, error: PlaceTakenError) -> None:
        """Gives up a part whose place is taken."""
        path = self.path(part.number)
        failure = UnreadableImage(Source(path, self._name(part.number)), str(error))
        self._refused.append(failure)
        self._failures.append(failure)

    def write(self, image: Image, faces: FaceDetections) -> bool:
        """Adds an image to its part."""
        if self._progress is None:
            return False
        source = image.source
        name = image.name.removeprefix(f"{source.shard}/") if source.shard else image.name
        crops = None
        if self.settings.embed_crops:
            aligned = align_faces(original_of(image), faces, size=self.settings.crop_size)
            crops = [encode_image(Path("crop.jpg"), crop) for crop in aligned]
        row = ImageRow(name, source.shard, image.resizer.original_size, faces, crops)
        self._progress.rows.add(image.position, row, is_frame=source.is_video)
        self._progress.num_images += 1
        self._progress.num_faces += len(faces)
        return True

    def write_failure(self, failure: UnreadableImage) -> None:
        """Notes what cannot be read among the errors of its part."""
        self._failures.append(failure)
        if self._progress is not None:
            self._progress.rows.skip(failure.position)

    def end_part(self, part: Part) -> tuple[int, int]:
        """Gives a part its name, behind the list of its errors; see Results."""
        progress, self._progress = self._progress, None
        self._write_part_errors(part)
        if progress is None:
            return 0, 0
        progress.rows.hand_on_all()
        try:
            progress.close(complete=True)
        except PlaceTakenError as error:
            self._refuse(part, error)
            self._write_part_errors(part)
            return progress.num_images, progress.num_faces
        return 0, 0

    def _write_part_errors(self, part: Part) -> None:
        path = self._errors_path(part.number)
        if self._failures:
            self.folder.write_bytes(path, b"".join(json_bytes(failure.describe()) for failure in self._failures))
        else:
            self.folder.remove(path)

    def close(self, *, complete: bool = True) -> None:
        """Gives up the part in progress."""
        if self._progress is not None:
            self._progress.close(complete=False)
            self._progress = None

    def count_missing(self, work: Work, failures: Iterable[UnreadableImage]) -> int:
        """Parts without results, but for those whose place is taken."""
        numbers = range(work.num_parts)
        return sum(not (self.folder.is_listed(self.path(number)) or self._is_refused(number)) for number in numbers)

    def _is_refused(self, number: int) -> bool:
        """Whether the errors of a part name the part itself."""
        errors = self._errors_path(number)
        if not self.folder.is_listed(errors):
            return False
        names = (json.loads(line)["file_name"] for line in errors.read_bytes().splitlines())
        return self._name(number) in names

    def remove_rest(self, work: Work) -> None:
        """Removes the parts that an earlier run of more inputs has behind the last one."""
        number = work.num_parts
        while self.folder.is_listed(self.path(number)):
            self.folder.remove(self.path(number))
            self.folder.remove(self._errors_path(number))
            number += 1

    def read_back(self, work: Work) -> FaceTable:
        """The detections of all parts that are there."""
        paths = [path for path in map(self.path, range(work.num_parts)) if self.folder.is_listed(path)]
        return read_parts(paths) if paths else FaceTable.from_images([])

    def write_errors(self, work: Work, failures: Iterable[UnreadableImage]) -> None:
        """Writes errors.json from the errors of all parts; one of an earlier run goes."""
        path = self.folder.root / "errors.json"
        files = [errors for errors in map(self._errors_path, range(work.num_parts)) if self.folder.is_listed(errors)]
        if not files:
            self.folder.remove(path)
            return
        with self.folder.new_file(path) as temporary, temporary.open("wb") as written:
            for number, errors in enumerate(files):
                lines = errors.read_bytes().removesuffix(b"\n").replace(b"\n", b",\n")
                written.write((b",\n" if number else b"[\n") + lines)
            written.write(b"\n]\n")


class _PartInProgress:
    """A part that is being written."""

    def __init__(self, path: Path, part: Part, folder: OutputFolder, settings: InferSettings) -> None:
        self.num_images = self.num_faces = 0
        self._open = ExitStack()
        temporary = self._open.enter_context(folder.new_file(path, source=part.stamp))
        write = PART_WRITERS[settings.part_format]
        self.rows = _RowsInOrder(self._open.enter_context(write(temporary, with_crops=settings.embed_crops)))

    def close(self, *, complete: bool) -> None:
        """Gives the part its name, or removes it."""
        close_files(self._open, complete=complete)


class _RowsInOrder:
    """Hands rows on in the order of their positions, whatever the order that they come in; few are held back."""

    def __init__(self, add: AddRow) -> None:
        self._add = add
        self._next = 0
        self._waiting: dict[int, ImageRow | None] = {}

    def add(self, position: int, row: ImageRow, *, is_frame: bool) -> None:
        """Takes the row of an image; frames come in order, behind all images before their video."""
        if is_frame:
            self.hand_on_all(below=position)
            self._next = position
            self._add(row)
            self._waiting[position] = None
        else:
            self._waiting[position] = row
            self._hand_on()

    def skip(self, position: int) -> None:
        """Notes that there is no further row at a position."""
        if position >= self._next:
            self._waiting[position] = None
            self._hand_on()

    def hand_on_all(self, *, below: int | None = None) -> None:
        """Hands on what waits for a position that will not come."""
        for position in sorted(self._waiting):
            if below is None or position < below:
                row = self._waiting.pop(position)
                if row is not None:
                    self._add(row)

    def _hand_on(self) -> None:
        while self._next in self._waiting:
            row = self._waiting.pop(self._next)
            self._next += 1
            if row is not None:
                self._add(row)
