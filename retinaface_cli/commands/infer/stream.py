"""Faces in the frames of a camera or network stream, as they come."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from retinaface_cli.commands.console import results_of, say
from retinaface_cli.commands.infer.output import RUNS_FOLDER, describe_run
from retinaface_cli.commands.weights import load_network_with_progress
from retinaface_cli.data.reading import frame_name
from retinaface_cli.data.video import Stream, VideoWriter
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.detection.tally import PredictionTally
from retinaface_cli.errors import SettingsError
from retinaface_cli.faces import FaceDetections, RgbImage
from retinaface_cli.files.atomic import next_run_folder
from retinaface_cli.files.outputs import Mode, OutputFolder
from retinaface_cli.formats import FaceTable, prediction_lines
from retinaface_cli.process import handled_signals
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.visualization.drawing import draw_faces

LINES_FILE = "predictions.jsonl"
VIDEO_FILE = "viz/stream.mp4"

_FOR_FILES = ("save", "resume", "crops", "anonymize", "html", "format", "coco_ids")
_DEVICES = {"gpu": "cuda"}


def detect_stream(settings: InferSettings, console: Console) -> tuple[Path, PredictionTally, float, str]:
    """Finds faces until the stream ends, or until Ctrl-C or SIGTERM; a JSON line a frame goes to standard output.

    Returns:
        The folder with all lines and, if wished, the drawn video; the counts; the seconds; what ran the network.

    Raises:
        RetinaFaceError: there is no such camera or stream, or weights, options or folder that cannot be used.
    """
    _check(settings)
    with Stream(settings.inputs[0]) as stream:
        weights = load_network_with_progress(settings, console=console)
        device = _DEVICES.get(settings.accelerator, settings.accelerator)
        detector = FaceDetector(weights, settings, device=device)
        root = settings.output or next_run_folder(RUNS_FOLDER)
        mode: Mode = "overwrite" if settings.overwrite else "new"
        identity = describe_run(settings, weights)
        with OutputFolder.open(root, identity=identity, mode=mode, can_resume=False, results=["run.json"]) as folder:
            say(console, f"{stream.name}: {detector.description}; Ctrl-C ends it, and all results are kept")
            began = time.monotonic()
            is_printed = not results_of(console).quiet
            tally = _detect(stream, detector, folder, is_drawn=settings.visualize, is_printed=is_printed)
            folder.write_json(root / "run.json", identity, indent=True)
        seconds = time.monotonic() - began
    return root, tally, seconds, detector.description


def _check(settings: InferSettings) -> None:
    """Raises SettingsError for what a stream cannot have."""
    defaults = InferSettings()
    given = [name for name in _FOR_FILES if getattr(settings, name) != getattr(defaults, name)]
    if given:
        raise SettingsError(f"{given[0].replace('_', '-')}: is for files, not for a camera or stream; leave it out")
    if settings.devices != 1 or settings.num_nodes != 1:
        raise SettingsError("devices: a camera or stream is read by one process; leave it out")


def _detect(
    stream: Stream, detector: FaceDetector, folder: OutputFolder, *, is_drawn: bool, is_printed: bool
) -> PredictionTally:
    """Writes, prints and counts the faces of each frame."""
    tally = PredictionTally()
    with _stop_on_signals() as stop, ExitStack() as stack:
        lines = stack.enter_context(stack.enter_context(folder.new_file(folder.root / LINES_FILE)).open("wb"))
        video: VideoWriter | None = None
        for index, frame in enumerate(stream.frames()):
            faces = detector.detect(frame)
            line = _describe(index, frame, faces)
            lines.write(line)
            tally.num_images += 1
            tally.num_faces += len(faces)
            if is_drawn:
                if video is None:
                    path = stack.enter_context(folder.new_file(folder.root / VIDEO_FILE))
                    video = stack.enter_context(VideoWriter(path, frame_rate=stream.frame_rate))
                video.write(draw_faces(frame, faces))
            if stop.is_set() or (is_printed and not _print(line)):
                break
    return tally


def _describe(index: int, frame: RgbImage, faces: FaceDetections) -> bytes:
    """The JSON line of a frame, as prediction files have it."""
    size = [(frame.shape[0], frame.shape[1])]
    table = FaceTable.from_detections([frame_name("stream", index)], [faces], image_sizes=size)
    return prediction_lines(table)[0].rstrip(b"\n") + b"\n"


def _print(line: bytes) -> bool:
    """Puts a line out at once; False where nobody reads any more."""
    try:
        sys.stdout.write(line.decode())
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  for what Python writes at its end
        return False
    return True


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second signal ends the process as usual."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _frame: object) -> None:
        """Asks for the end."""
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    with handled_signals(before, ask):
        yield stop
