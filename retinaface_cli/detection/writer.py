"""What `infer` leaves on disk for each image, and which images are done already."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from retinaface_cli.data.preprocessing import RgbImage
from retinaface_cli.data.reading import Image, frame_name
from retinaface_cli.data.sources import Source
from retinaface_cli.data.video import VideoFile, frame_rate
from retinaface_cli.detection.alignment import align_faces, crop_faces
from retinaface_cli.faces import FaceDetections
from retinaface_cli.files.atomic import write_text_atomic
from retinaface_cli.formats import FaceTable, prediction_lines
from retinaface_cli.visualization.anonymization import AnonymizationMethod, anonymize_faces
from retinaface_cli.visualization.drawing import draw_faces
from retinaface_cli.visualization.image_files import output_name, save_image


@dataclass(frozen=True)
class OutputFolder:
    """Where the results of a run lie; `name` is an image's path relative to the input root throughout."""

    root: Path

    def label_path(self, name: str) -> Path:
        """The JSON file of an image; it is written last, so where it exists the image is done."""
        return self.root / "labels" / f"{name}.json"

    def drawing_path(self, source: Source) -> Path:
        """The image (or video) with the faces drawn on it."""
        return self.root / "viz" / output_name(source.name, ".mp4" if source.is_video else ".jpg")

    def anonymized_path(self, source: Source) -> Path:
        """The image (or video) with faces made unrecognisable; a .png stays one, so that nothing else changes."""
        kept = source.path.suffix if source.path.suffix.lower() == ".png" else ".jpg"
        return self.root / "anonymized" / output_name(source.name, ".mp4" if source.is_video else kept)

    def crop_folder(self, name: str) -> Path:
        """The folder of an image's face crops."""
        return self.root / "crops" / name

    def is_done(self, source: Source) -> bool:
        """Whether all results of an image or video are there."""
        return self.label_path(source.name).is_file()

    def finished_labels(self, source: Source) -> Iterator[Path]:
        """The label files of a source that is done: one for an image, one a frame for a video."""
        path = self.label_path(source.name)
        if not source.is_video:
            yield path
            return
        num_frames = json.loads(path.read_text(encoding="utf-8"))["num_frames"]
        yield from (self.label_path(frame_name(source.name, index)) for index in range(num_frames))


@dataclass(frozen=True)
class WriterOptions:
    """What is written besides the labels; see InferSettings."""

    visualize: bool = False
    crops: str | None = None
    crop_size: int = 112
    crop_margin: float = 0.25
    anonymize: AnonymizationMethod | None = None

    @property
    def needs_original(self) -> bool:
        """Whether the images themselves are needed."""
        return self.visualize or self.crops is not None or self.anonymize is not None


class PredictionWriter:
    """Writes the results of images as they come."""

    def __init__(self, folder: OutputFolder, options: WriterOptions) -> None:
        self._folder = folder
        self._options = options
        self._video: _VideoInProgress | None = None

    def write(self, image: Image, faces: FaceDetections) -> None:
        """Writes everything asked for of one image, its label file last; frames of a video must come in order."""
        source = image.source
        if self._video is not None and self._video.source != source:
            self.close()
        if source.is_video and self._video is None:
            self._video = _VideoInProgress(source, frame_rate(source.path))
        if self._options.visualize:
            self._save(self._folder.drawing_path(source), draw_faces(_original(image), faces))
        if self._options.anonymize is not None:
            hidden = anonymize_faces(_original(image), faces.boxes, method=self._options.anonymize)
            self._save(self._folder.anonymized_path(source), hidden)
        if self._options.crops is not None:
            self._write_crops(image, faces)
        self._write_labels(image, faces)

    def close(self, *, complete: bool = True) -> None:
        """Ends the video in progress, if there is one; where not all frames have come, it does not count as done."""
        if self._video is None:
            return
        self._video.close(complete=complete)
        if complete:
            content = {"file_name": self._video.source.name, "num_frames": self._video.num_frames}
            write_text_atomic(self._folder.label_path(self._video.source.name), json.dumps(content))
        self._video = None

    def _write_labels(self, image: Image, faces: FaceDetections) -> None:
        table = FaceTable.from_detections([image.name], [faces], image_sizes=[image.resizer.original_size])
        write_text_atomic(self._folder.label_path(image.name), prediction_lines(table)[0].decode())
        if self._video is not None:
            self._video.num_frames += 1

    def _write_crops(self, one_image: Image, faces: FaceDetections) -> None:
        folder = self._folder.crop_folder(one_image.name)
        if folder.is_dir():
            shutil.rmtree(folder)
        image = _original(one_image)
        crops: Sequence[RgbImage]
        if self._options.crops == "aligned":
            crops = list(align_faces(image, faces, size=self._options.crop_size))
        else:
            crops = crop_faces(image, faces.boxes, margin=self._options.crop_margin)
        for index, crop in enumerate(crops):
            save_image(folder / f"{index:03d}.jpg", crop)

    def _save(self, path: Path, image: RgbImage) -> None:
        """An image as a file; a frame as the next one of its video."""
        if self._video is None:
            save_image(path, image)
        else:
            self._video.file(path).write(image)


class _VideoInProgress:
    """The video whose frames are coming in, and the videos that are made of them."""

    def __init__(self, source: Source, frame_rate: float) -> None:
        self.source = source
        self.num_frames = 0
        self._frame_rate = frame_rate
        self._files: dict[Path, VideoFile] = {}

    def file(self, path: Path) -> VideoFile:
        """The video being written to `path`."""
        if path not in self._files:
            self._files[path] = VideoFile(path, frame_rate=self._frame_rate)
        return self._files[path]

    def close(self, *, complete: bool) -> None:
        """Gives the videos their names, or removes them if they are not complete."""
        for file in self._files.values():
            file.close(keep=complete)


def _original(image: Image) -> RgbImage:
    if image.original is None:
        raise ValueError("images must be read with keep_original to be drawn or cropped")
    return image.original
