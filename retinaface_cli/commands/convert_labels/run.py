"""`retinaface convert-labels`: reads labels of any kind, checks them, writes them, and tells what is in them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from retinaface_cli.commands.convert_labels.report import print_findings, print_statistics, statistics_to_json
from retinaface_cli.commands.convert_labels.selection import hold_out, pick_subset
from retinaface_cli.errors import LabelFormatError, RetinaFaceError, SettingsError
from retinaface_cli.faces import ImageLabels
from retinaface_cli.files.atomic import atomic_path, write_text_atomic
from retinaface_cli.formats import READERS, WRITERS, Finding, LabelSet, read_labels
from retinaface_cli.formats.flat_labels import flatten_labels
from retinaface_cli.formats.label_set import merge_findings
from retinaface_cli.formats.label_statistics import LabelStatistics, summarize_labels
from retinaface_cli.formats.label_writing import format_of_output, write_label_files
from retinaface_cli.formats.repeated import join_repeated
from retinaface_cli.settings.conversion import ConversionSettings
from retinaface_cli.settings.network import AnchorSettings


@dataclass(frozen=True, eq=False)
class _Labels:
    """The labels of all sources, merged.

    Attributes:
        images: images with distinct names.
        image_root: folder that the names are relative to, where the images were found.
        findings: of all sources.
    """

    images: Sequence[ImageLabels]
    image_root: Path | None
    findings: Sequence[Finding]


def run(settings: ConversionSettings) -> None:
    """Does all that the settings ask for, and prints the summary.

    Raises:
        RetinaFaceError: a source cannot be read, or an output not be written; nothing is written then.
    """
    console = Console(highlight=False)
    to_format = _check_outputs(settings)
    labels = _read_sources(settings, console)
    if settings.subset is not None:
        picked = pick_subset(labels.images, settings.subset, seed=settings.seed)
        console.print(f"Picked {len(picked):,} of {len(labels.images):,} images (--subset, seed {settings.seed})")
        labels = _Labels(picked, labels.image_root, labels.findings)
    outputs = _deal_out(labels.images, settings)
    if outputs and to_format is not None:
        write_label_files(outputs, format_name=to_format)
    anchor_sizes = [size for level in AnchorSettings().sizes for size in level]
    statistics = summarize_labels(labels.images, anchor_sizes)
    _write_statistics(statistics, labels, anchor_sizes, settings)
    print_findings(labels.findings, settings.sources, console)
    print_statistics(statistics, anchor_sizes, console)
    console.print()
    _print_outputs(labels, outputs, to_format, settings, console)


def _check_outputs(settings: ConversionSettings) -> str | None:
    """The format to write; refuses to replace files before any work is done."""
    if settings.output is None:
        to_format = None
    else:
        to_format = settings.to_format or format_of_output(settings.output)
        if any(_is_same(settings.output, source) for source in settings.sources):
            raise SettingsError(f"{settings.output}: is a source, too; name another file to write")
    written = [*_output_paths(settings), settings.stats, settings.stats_plot]
    for path in written:
        if path is not None and path.exists() and not settings.force:
            raise SettingsError(f"{path}: is there already; name another file, or replace it with --force")
    return to_format


def _is_same(first: Path, second: Path) -> bool:
    """Whether two paths are one file or folder."""
    return first.exists() and second.exists() and first.samefile(second)


def _output_paths(settings: ConversionSettings) -> list[Path]:
    """The label files to write: OUT, and OUT-holdout."""
    if settings.output is None:
        return []
    held = settings.output.with_name(f"{settings.output.stem}-holdout{settings.output.suffix}")
    return [settings.output, held] if settings.holdout else [settings.output]


def _read_sources(settings: ConversionSettings, console: Console) -> _Labels:
    """Reads and merges all sources; says of each what it was taken for."""
    label_sets = []
    for source in settings.sources:
        labels = read_labels(
            source,
            format_name=settings.from_format,
            split=settings.split,
            images=settings.images,
            classes=settings.classes,
            invalid=settings.invalid,
            min_size=settings.min_size,
            measure=settings.images is not None or source.is_dir(),
            strict=settings.strict,
        )
        if not labels.images:
            raise LabelFormatError(f"{source}: holds no labelled images")
        num_faces = sum(len(image.faces) for image in labels.images)
        title = READERS[labels.format_name].title
        if labels.label_files:
            title += f" ({' and '.join(os.path.relpath(file, source) for file in labels.label_files)})"
        counts = f"{len(labels.images):,} images, {num_faces:,} faces"
        console.print(f"Read {_bold(source)}: {escape(title)}, {counts}", soft_wrap=True)
        label_sets.append(labels)
    return _merge(label_sets, strict=settings.strict)


def _merge(label_sets: Sequence[LabelSet], *, strict: bool) -> _Labels:
    """Puts the images of all sources one after the other, with names relative to one folder."""
    findings = merge_findings(finding for labels in label_sets for finding in labels.findings)
    roots = {labels.image_root for labels in label_sets}
    if len(roots) == 1:
        root, images = roots.pop(), [image for labels in label_sets for image in labels.images]
    else:
        known = [os.path.realpath(path) for path in roots if path is not None]
        root = Path(os.path.commonpath(known)) if len(known) == len(roots) else None
        images = [image for labels in label_sets for image in _rename(labels, root)]
    joined, repeated = join_repeated(images, "merged sources")
    if repeated and strict:
        raise LabelFormatError("\n".join(finding.describe() for finding in repeated))
    return _Labels(joined, root, findings + repeated)


def _rename(labels: LabelSet, root: Path | None) -> Sequence[ImageLabels]:
    """The images of one source with names relative to a folder above its own."""
    if root is None or labels.image_root is None:
        return labels.images
    prefix = Path(os.path.relpath(os.path.realpath(labels.image_root), root))
    return [
        ImageLabels((prefix / image.file_name).as_posix(), image.faces, image.width, image.height)
        for image in labels.images
    ]


def _deal_out(images: Sequence[ImageLabels], settings: ConversionSettings) -> dict[Path, Sequence[ImageLabels]]:
    """Which images go to which output."""
    paths = _output_paths(settings)
    parts = hold_out(images, settings.holdout, seed=settings.seed) if settings.holdout else (images,)
    return dict(zip(paths, parts, strict=False))


def _write_statistics(
    statistics: LabelStatistics, labels: _Labels, anchor_sizes: Sequence[float], settings: ConversionSettings
) -> None:
    """Writes --stats and --stats-plot."""
    try:
        if settings.stats is not None:
            content = statistics_to_json(statistics, labels.findings)
            write_text_atomic(settings.stats, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        if settings.stats_plot is not None:
            from retinaface_cli.visualization.label_plots import draw_label_statistics  # matplotlib is slow to import

            names = ", ".join(source.name or str(source) for source in settings.sources)
            title = f"{names}: {statistics.num_images:,} images, {statistics.num_faces:,} faces"
            with atomic_path(settings.stats_plot) as temporary:
                draw_label_statistics(statistics, anchor_sizes, temporary, title=title)
    except OSError as error:
        raise RetinaFaceError(f"statistics cannot be written: {error}") from None


def _print_outputs(
    labels: _Labels,
    outputs: Mapping[Path, Sequence[ImageLabels]],
    to_format: str | None,
    settings: ConversionSettings,
    console: Console,
) -> None:
    """Says what was written, what could not be held, and where the images are expected."""
    writer = WRITERS[to_format] if to_format is not None else None
    if writer is not None:
        for path, images in outputs.items():
            counts = f"{len(images):,} images, {writer.count_faces(images):,} faces"
            console.print(f"Wrote {_bold(path)}: {writer.title}, {counts}", soft_wrap=True)
        losses = writer.describe_losses(flatten_labels(labels.images))
        if losses:
            console.print(f"[yellow]This format cannot hold[/yellow] {escape('; '.join(losses))}", soft_wrap=True)
    for extra in (settings.stats, settings.stats_plot):
        if extra is not None:
            console.print(f"Wrote {_bold(extra)}", soft_wrap=True)
    if labels.image_root is not None:
        console.print(f"File names are relative to {_bold(labels.image_root)}", soft_wrap=True)
    elif outputs:
        console.print("The images were not looked for: name their folder with --images to check them.")


def _bold(path: Path) -> str:
    """A path in bold, in which brackets are no markup."""
    return f"[bold]{escape(str(path))}[/bold]"
