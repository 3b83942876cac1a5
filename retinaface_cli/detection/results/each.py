"""Files for each image: labels and, if asked, drawings, crops and anonymized images."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from retinaface_cli.data.reading import Image, UnreadableImage, frame_name
from retinaface_cli.data.sources import Part, Shard, Source, Work
from retinaface_cli.data.video import VideoWriter, frame_rate
from retinaface_cli.detection.alignment import align_faces, crop_faces
from retinaface_cli.detection.results.base import Results, close_files, original_of
from retinaface_cli.errors import FileReadError, LabelFormatError, OutputError, PlaceTakenError
from retinaface_cli.faces import FaceDetections, RgbImage
from retinaface_cli.files.outputs import OutputFolder
from retinaface_cli.files.reading import read_json
from retinaface_cli.formats import FaceTable, prediction_lines, read_label_files
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.visualization.anonymization import anonymize_faces
from retinaface_cli.visualization.drawing import draw_faces
from retinaface_cli.visualization.image_files import encode_image


class EachResults(Results):
    """A label file for each image, and the images that are asked for; names are paths relative to the input root."""

    def __init__(self, folder: OutputFolder, settings: InferSettings) -> None:
        super().__init__(folder, settings)
        self._video: _VideoInProgress | None = None
        self._members: dict[str, list[str]] = defaultdict(list)
        self._last_refused: Source | None = None

    @classmethod
    def places(cls, settings: InferSettings) -> list[str]:
        """The table of all faces, and the folders of what is written for each image."""
        asked = {"viz/": settings.visualize, "anonymized/": settings.anonymize, "crops/": settings.crops}
        return ["predictions.json", "labels/", *(name for name, value in asked.items() if value)]

    def labels(self, name: str) -> Path:
        """The JSON file of an image, a frame, or a video as a whole; it is written last."""
        return self.folder.path("labels", name, suffix=".json")

    def drawing(self, source: Source) -> Path:
        """The image (or video) with the faces drawn on it."""
        return self.folder.path("viz", source.name, suffix=".mp4" if source.is_video else ".jpg", keep_suffix=True)

    def anonymized(self, source: Source) -> Path:
        """The image (or video) with faces made unrecognisable; a .png stays one, so that nothing else changes."""
        kept = ".png" if source.name.lower().endswith(".png") else ".jpg"
        return self.folder.path("anonymized", source.name, suffix=".mp4" if source.is_video else kept, keep_suffix=True)

    def crop(self, name: str, index: int) -> Path:
        """One face of an image or frame."""
        return self.folder.path("crops", name) / f"{index:03d}.jpg"

    def _member_list(self, shard: Shard) -> Path:
        """The names of the images in a shard."""
        return self.folder.path("shards", shard.name, suffix=".json")

    def has_part(self, part: Part) -> bool:
        """No: its images are looked at one by one."""
        return False

    def has(self, source: Source) -> bool:
        """Whether all results of an image or video are there, made of the file as it is now."""
        if source.shard:
            self._members[source.shard].append(source.name)
        return self._has_all(source)

    def _has_all(self, source: Source) -> bool:
        stamp = source.stamp
        wanted = [self.labels(source.name)]
        if self.settings.visualize:
            wanted.append(self.drawing(source))
        if self.settings.anonymize is not None:
            wanted.append(self.anonymized(source))
        if not all(self.folder.is_whole(path, source=stamp) for path in wanted):
            return False
        return self.settings.crops is None or self._has_crops(source)

    def _has_crops(self, source: Source) -> bool:
        """Whether every face of an image or video has its crop."""
        for path in self._finished_labels(source):
            content = read_json(path)
            crops = (self.crop(content["file_name"], index) for index in range(len(content["annotations"])))
            if not all(map(self.folder.is_whole, crops)):
                return False
        return True

    def _finished_labels(self, source: Source) -> Iterator[Path]:
        """The label files of a source that is done: one for an image, one a frame for a video."""
        path = self.labels(source.name)
        if not source.is_video:
            yield path
            return
        try:
            num_frames = int(read_json(path)["num_frames"])
        except (FileReadError, KeyError, TypeError, ValueError):
            return
        yield from (self.labels(frame_name(source.name, index)) for index in range(num_frames))

    def write(self, image: Image, faces: FaceDetections) -> bool:
        """Writes everything asked for of one image, its label file last; frames of a video must come in order."""
        source = image.source
        if self._video is not None and self._video.source != source:
            self.close()
        if source == self._last_refused:  # a further frame of it
            return False
        if source.is_video and self._video is None:
            self._video = _VideoInProgress(source, self.folder)
        try:
            self._write_image_files(image, faces)
        except PlaceTakenError as error:
            self._refuse(source, error)
            return False
        return True

    def _refuse(self, source: Source, error: PlaceTakenError) -> None:
        """Gives up an image or video, and the others go on."""
        if self._video is not None:
            self._video.close(complete=False)
            self._video = None
        self._last_refused = source
        self._refused.append(UnreadableImage(source, str(error)))

    def _write_image_files(self, image: Image, faces: FaceDetections) -> None:
        source = image.source
        stamp = source.stamp
        if self.settings.visualize:
            self._save(self.drawing(source), draw_faces(original_of(image), faces), stamp)
        if self.settings.anonymize is not None:
            hidden = anonymize_faces(original_of(image), faces.boxes, method=self.settings.anonymize)
            self._save(self.anonymized(source), hidden, stamp)
        if self.settings.crops is not None:
            for index, crop in enumerate(self._crops(original_of(image), faces)):
                self._write_image(self.crop(image.name, index), crop, stamp)
        self._write_labels(image, faces, stamp)

    def end_part(self, part: Part) -> tuple[int, int]:
        """Ends the video in progress, and notes which images a shard has."""
        self.close()
        for shard in part.sources:
            if isinstance(shard, Shard):
                names = self._members.pop(shard.name, [])
                try:
                    self.folder.write_json(self._member_list(shard), names, source=shard.stamp)
                except PlaceTakenError as error:
                    self._refuse(shard, error)
        return 0, 0

    def close(self, *, complete: bool = True) -> None:
        """Ends the video in progress, if there is one; where not all frames have come, it does not count as done."""
        if self._video is None:
            return
        video, self._video = self._video, None
        try:
            video.close(complete=complete)
            if complete:
                content = {"file_name": video.source.name, "num_frames": video.num_frames}
                path = self.labels(video.source.name)
                self.folder.write_text(path, json.dumps(content), source=video.source.stamp)
        except PlaceTakenError as error:
            self._refuse(video.source, error)

    def read_back(self, work: Work) -> FaceTable:
        """The detections of finished images and frames, read from their label files."""
        done = filter(self._is_done, work.list_sources())
        try:
            return read_label_files(path for source in done for path in self._written_labels(source))
        except LabelFormatError as error:
            raise OutputError(f"{error}; the output folder was changed during the run") from None

    def count_missing(self, work: Work, failures: Iterable[UnreadableImage]) -> int:
        """Images and videos that could be read and have no results."""
        failed = {one.source for one in failures}
        return sum(source not in failed and not self._is_done(source) for source in work.list_sources())

    def _is_done(self, source: Source) -> bool:
        """Whether an image or video has its results, or a shard was gone through."""
        if isinstance(source, Shard):
            return self.folder.is_whole(self._member_list(source), source=source.stamp)
        return self._has_all(source)

    def _written_labels(self, source: Source) -> Iterator[Path]:
        if isinstance(source, Shard):
            yield from filter(self.folder.is_whole, map(self.labels, read_json(self._member_list(source))))
        else:
            yield from self._finished_labels(source)

    def write_errors(self, work: Work, failures: Iterable[UnreadableImage]) -> None:
        """Writes errors.json; one of an earlier run goes."""
        path = self.folder.root / "errors.json"
        listed = [failure.describe() for failure in failures]
        if listed:
            self.folder.write_json(path, listed, indent=True)
        else:
            self.folder.remove(path)

    def _write_labels(self, image: Image, faces: FaceDetections, stamp: str) -> None:
        table = FaceTable.from_detections([image.name], [faces], image_sizes=[image.resizer.original_size])
        self.folder.write_bytes(self.labels(image.name), prediction_lines(table)[0], source=stamp)
        if self._video is not None:
            self._video.num_frames += 1

    def _crops(self, image: RgbImage, faces: FaceDetections) -> Sequence[RgbImage]:
        if self.settings.crops == "aligned":
            return list(align_faces(image, faces, size=self.settings.crop_size))
        return crop_faces(image, faces.boxes, margin=self.settings.crop_margin)

    def _save(self, path: Path, image: RgbImage, stamp: str) -> None:
        """An image as a file; a frame as the next one of its video."""
        if self._video is None:
            self._write_image(path, image, stamp)
        else:
            self._video.file(path).write(image)

    def _write_image(self, path: Path, image: RgbImage, stamp: str) -> None:
        self.folder.write_bytes(path, encode_image(path, image), source=stamp)


class _VideoInProgress:
    """The video whose frames are coming in, and the videos that are made of them."""

    def __init__(self, source: Source, folder: OutputFolder) -> None:
        self.source = source
        self.num_frames = 0
        self._folder = folder
        self._frame_rate = frame_rate(source.path)
        self._open = ExitStack()
        self._writers: dict[Path, VideoWriter] = {}

    def file(self, path: Path) -> VideoWriter:
        """The video being written to `path`."""
        if path not in self._writers:
            temporary = self._open.enter_context(self._folder.new_file(path, source=self.source.stamp))
            self._writers[path] = self._open.enter_context(VideoWriter(temporary, frame_rate=self._frame_rate))
        return self._writers[path]

    def close(self, *, complete: bool) -> None:
        """Gives the videos their names, or removes them if they are not complete."""
        close_files(self._open, complete=complete)
