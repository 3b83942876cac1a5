"""`retinaface infer`: finds the faces of many images and writes them down."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from retinaface_cli.commands.console import say, say_failures
from retinaface_cli.commands.infer.gallery import write_gallery
from retinaface_cli.commands.infer.launch import is_first_process, launch
from retinaface_cli.commands.infer.options import count_sources
from retinaface_cli.commands.infer.output import gather_results, open_output
from retinaface_cli.commands.infer.stream import detect_stream
from retinaface_cli.commands.infer.supervision import Supervision
from retinaface_cli.commands.weights import load_network_with_progress
from retinaface_cli.data.reading import UnreadableImage
from retinaface_cli.data.sources import InputStream, Source, Work, describe_left_out, find_sources
from retinaface_cli.data.video import is_stream
from retinaface_cli.detection.network_files import NetworkFile, files_of
from retinaface_cli.detection.prediction import Prediction, Process
from retinaface_cli.detection.results import Results
from retinaface_cli.detection.stages import settle
from retinaface_cli.errors import SettingsError, count_of, shown
from retinaface_cli.settings.detection import InferSettings


@dataclass(frozen=True)
class InferReport:
    """How a run went.

    Attributes:
        output: the folder with the results.
        num_images: images and video frames done in this run.
        num_faces: found in them.
        seconds: from the first image to the last.
        network: library and precision that ran the network.
        num_done_before: images, videos and shards that an earlier run had done.
        failures: what could not be read or written; of results in parts the first few.
        num_failures: all of them.
        interrupted: whether it was stopped before the end.
        signal_number: of the signal that stopped it, if it was stopped.
        is_first: whether this is the report of the first process.
        num_missing: images and videos that did not fail, or parts, that have no results in the end; other processes
            than the first do not count them.
    """

    output: Path
    num_images: int
    num_faces: int
    seconds: float
    network: str
    num_done_before: int = 0
    failures: Sequence[UnreadableImage] = ()
    num_failures: int = 0
    interrupted: bool = False
    signal_number: int = signal.SIGTERM
    is_first: bool = True
    num_missing: int = 0

    def describe(self) -> dict[str, Any]:
        """The report as JSON values; of the failures those that are kept in memory."""
        return {
            "folder": str(self.output),
            "num_images": self.num_images,
            "num_faces": self.num_faces,
            "num_done_before": self.num_done_before,
            "num_failures": self.num_failures,
            "num_missing": self.num_missing,
            "failures": [{"name": shown(one.name), "reason": one.reason} for one in self.failures],
            "seconds": round(self.seconds, 2),
            "network": self.network,
            "interrupted": self.interrupted,
        }

    @property
    def exit_code(self) -> int:
        """0 if any image was processed and none is missing, 130 or 143 after an interruption; InferSettings.strict.

        That of other processes than the first is 0: Lightning takes anything else for a crash, and kills the first.
        """
        if not self.is_first:
            return 0
        if self.interrupted:
            return 128 + self.signal_number
        return 0 if not self.num_missing and self.num_images + self.num_done_before > 0 else 1


def run(
    settings: InferSettings, *, sources: Sequence[Source] | None = None, console: Console | None = None
) -> InferReport:
    """Runs the whole workflow; in a distributed run every process comes through here.

    Args:
        settings: what to do.
        sources: images and videos with the names that results are to have; None: what the inputs name.
        console: for progress and messages of the first process; None: standard error.

    Raises:
        RetinaFaceError: nothing to look at, weights or output folder that cannot be used, no such device.
    """
    console = (console or Console(stderr=True)) if is_first_process(settings) else Console(quiet=True)
    if sources is None and any(map(is_stream, settings.inputs)):
        return _run_stream(settings, console)
    inputs = _find_inputs(settings, console) if sources is None else _Inputs(Work(sources), [], sources)
    weights = load_network_with_progress(settings, console=console)
    settings = settle(settings, weights)
    if isinstance(weights, NetworkFile) and settings.accelerator == "auto":
        settings = settings.model_copy(update={"accelerator": "cpu"})
    work = inputs.work
    protect = [*(source.path for source in inputs.sources), *map(Path, inputs.lists), *files_of(weights.path)]
    open_folder = partial(open_output, settings, weights, protect)
    prediction = Prediction(settings, weights, work, open_output=open_folder, protect=protect)

    def predict(process: Process) -> int:
        """Goes over this process's images; the number of the signal that stopped it, if one did."""
        prediction.begin(process)
        with Supervision(prediction, console) as supervision:
            for batch in prediction.batches():
                prediction.predict(batch)
                supervision.follow()
            prediction.end(is_other_gone=supervision.is_other_gone)
        return supervision.received or signal.SIGTERM

    try:
        signal_number = launch(settings, predict)
    except BaseException as error:
        prediction.end_with(error)
        raise
    report = _report(prediction, inputs.problems, signal_number)
    if report.is_first:
        report = _finish(report, prediction.results, work, console)
    prediction.results.folder.close()
    return report


def _report(prediction: Prediction, problems: Sequence[UnreadableImage], signal_number: int) -> InferReport:
    """How the run went that has ended; `problems` were found before it."""
    tally = prediction.tally
    return InferReport(
        output=prediction.results.folder.root,
        num_images=tally.num_images,
        num_faces=tally.num_faces,
        num_done_before=tally.num_done_before,
        failures=[*problems, *tally.failures],
        num_failures=len(problems) + tally.num_failures,
        seconds=prediction.seconds,
        network=prediction.detector.description,
        interrupted=tally.interrupted,
        signal_number=signal_number,
        is_first=prediction.process.rank == 0,
    )


def _run_stream(settings: InferSettings, console: Console) -> InferReport:
    """Runs over the frames of a camera or stream, which is the only input."""
    if len(settings.inputs) != 1:
        raise SettingsError(f"{shown(settings.inputs)}: a camera or stream is read alone; name it as the only input")
    output, tally, seconds, network = detect_stream(settings, console)
    report = InferReport(output, tally.num_images, tally.num_faces, seconds, network)
    _print_summary(report, console)
    return report


def _finish(report: InferReport, results: Results, work: Work, console: Console) -> InferReport:
    """Gathers the results of all processes, and tells how the run went."""
    settings = results.settings
    if not report.interrupted:
        results.folder.refresh()
        results.remove_rest(work)
    gathered = gather_results(results, work, report.failures)
    if settings.html and not report.interrupted:
        write_gallery(results, gathered.table, list(work.list_sources()), console)
    report = replace(report, num_missing=gathered.num_missing)
    if gathered.num_without_id:
        count = f"{gathered.num_without_id:,} images"
        say(console, f"{count} are not in {settings.coco_ids}, and left out of the COCO results")
    _print_summary(report, console)
    return report


@dataclass(frozen=True)
class _Inputs:
    """What a run works on.

    Attributes:
        work: all of it.
        problems: entries of the inputs that cannot be used, and are no part of the work.
        sources: files that are never written over.
        lists: likewise.
    """

    work: Work
    problems: Sequence[UnreadableImage]
    sources: Sequence[Source] = ()
    lists: Sequence[str] = ()


def _find_inputs(settings: InferSettings, console: Console) -> _Inputs:
    """What the inputs name; for results in parts, which no image's name can be, lists are not read before the run."""
    if settings.save == "parts":
        stream = InputStream(settings.inputs, output=settings.output)
        listings = stream.listings
        inputs = _Inputs(Work(stream), [], lists=stream.lists)
    else:
        listings = [find_sources(settings.inputs, output=settings.output)]
        sources = listings[0].sources
        problems = [UnreadableImage(Source(Path(one.name), one.name), one.reason) for one in listings[0].problems]
        inputs = _Inputs(Work(sources), problems, sources)
    for listing in listings:
        if listing.left_out:
            say(console, f"note: {count_sources(listing.sources)}{describe_left_out(listing)}")
    return inputs


def _print_summary(report: InferReport, console: Console) -> None:
    rate = report.num_images / max(report.seconds, 1e-9)
    line = f"{count_of(report.num_faces, 'face')} in {count_of(report.num_images, 'image')}, {report.seconds:.1f} s"
    line += f" ({rate:.1f} images/s; {report.network})"
    if report.num_done_before:
        line += f"; {report.num_done_before} were done before"
    say(console, line)
    heading = f"{report.num_failures} could not be read or written, see {report.output / 'errors.json'}:"
    say_failures(console, heading, report.failures, total=report.num_failures)
    if report.interrupted:
        say(console, f"stopped before the end; go on with --output {report.output} --resume")
    elif report.num_missing:
        what = "results were deleted, changed or not made during the run"
        say(console, f"{report.num_missing:,} {what}; make them again with --output {report.output} --resume")
    say(console, f"results: {report.output}")
