"""`retinaface convert-labels`: reads labels of any kind, checks them, writes them, and tells what is in them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from retinaface_cli.commands.console import results_of, track
from retinaface_cli.commands.convert_labels.report import print_findings, print_statistics, statistics_to_json
from retinaface_cli.errors import LabelFormatError, count_of, shown
from retinaface_cli.files.output_files import check_folder, check_outputs, write_file
from retinaface_cli.formats import READERS, WRITERS, FaceTable, read_labels, write_labels
from retinaface_cli.formats.images import hold_out, join_repeated, pick_subset
from retinaface_cli.formats.statistics import LabelStatistics, summarize_labels
from retinaface_cli.formats.writing import format_of_output
from retinaface_cli.settings.conversion import ConversionSettings
from retinaface_cli.settings.network import AnchorSettings


def run(settings: ConversionSettings, *, console: Console | None = None) -> dict[str, Any]:
    """Does all that the settings ask for, and prints the summary.

    Args:
        settings: what to do.
        console: of the command; None: notes go to standard error, all else to standard output.

    Returns:
        What was written, and all figures, as JSON values.

    Raises:
        RetinaFaceError: a source cannot be read, or an output not be written; nothing is written then.
    """
    notes = console or Console(stderr=True, highlight=False)
    console = results_of(notes)
    to_format = _check_outputs(settings)
    table = _read_sources(settings, console, notes)
    if settings.subset is not None:
        picked = pick_subset(table, settings.subset, seed=settings.seed)
        console.print(f"Picked {len(picked):,} of {count_of(len(table), 'image')} (--subset, seed {settings.seed})")
        table = picked
    paths = _output_paths(settings)
    parts = hold_out(table, settings.holdout, seed=settings.seed) if settings.holdout else (table,)
    outputs = dict(zip(paths, parts, strict=False))
    anchor_sizes = [size for level in AnchorSettings().sizes for size in level]
    statistics = summarize_labels(table, anchor_sizes)
    if outputs:
        write_labels(outputs, format_name=to_format, force=settings.force, protect=settings.protected)
    _write_statistics(statistics, table, anchor_sizes, settings)
    print_findings(table.findings, settings.sources, console)
    print_statistics(statistics, anchor_sizes, console)
    console.print()
    _print_outputs(table, outputs, to_format, settings, console)
    written = [
        {"path": str(path), "format": to_format, "num_images": len(part), "num_faces": len(part.boxes)}
        for path, part in outputs.items()
    ]
    return {"outputs": written, **statistics_to_json(statistics, table.findings)}


def _check_outputs(settings: ConversionSettings) -> str | None:
    """The format to write; refuses to replace files before any work is done.

    Raises:
        RetinaFaceError: the format cannot be told; an output is a source, is named twice, or exists.
    """
    for source in settings.sources:
        if not source.exists():
            raise LabelFormatError(f"{shown(source)}: no such file or folder; sources come first, what is written last")
    to_format = None
    if settings.output is not None:
        to_format = settings.to_format or format_of_output(settings.output)
    files = [path for path in (settings.stats, settings.stats_plot) if path is not None]
    labels = _output_paths(settings)
    if to_format is not None and WRITERS[to_format].is_folder:
        for folder in labels:
            check_folder(folder, force=settings.force, protect=[*settings.protected, *files])
    else:
        files += labels
    check_outputs(files, force=settings.force, protect=settings.protected)
    return to_format


def _output_paths(settings: ConversionSettings) -> list[Path]:
    """The label files to write: OUT, and OUT-holdout."""
    if settings.output is None:
        return []
    held = settings.output.parent / f"{settings.output.stem}-holdout{settings.output.suffix}"
    return [settings.output, held] if settings.holdout else [settings.output]


def _read_sources(settings: ConversionSettings, console: Console, notes: Console) -> FaceTable:
    """Reads and merges all sources; says of each what it was taken for."""
    tables = []
    for source in track(notes, "reading", settings.sources, total=len(settings.sources)):
        table = read_labels(
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
        if not len(table):
            raise LabelFormatError(f"{shown(source)}: holds no labelled images")
        title = READERS[table.format_name].title
        if table.label_files:
            title += f" ({' and '.join(os.path.relpath(file, source) for file in table.label_files)})"
        counts = f"{count_of(len(table), 'image')}, {count_of(len(table.boxes), 'face')}"
        console.print(f"Read {_bold(source)}: {escape(title)}, {counts}", soft_wrap=True)
        tables.append(table)
    return _merge(tables, strict=settings.strict)


def _merge(tables: Sequence[FaceTable], *, strict: bool) -> FaceTable:
    """Puts the images of all sources one after the other, with names relative to one folder."""
    if len(tables) == 1:
        return tables[0]
    roots = {table.image_root for table in tables}
    root = next(iter(roots))
    if len(roots) > 1:
        known = [os.path.realpath(path) for path in roots if path is not None]
        root = Path(os.path.commonpath(known)) if len(known) == len(roots) else None
        tables = [_rename(table, root) for table in tables]
    merged = replace(FaceTable.concatenate(tables), image_root=root, image_ids=None)
    joined = join_repeated(merged, "merged sources")
    repeated = joined.findings[len(merged.findings) :]
    if repeated and strict:
        raise LabelFormatError("\n".join(finding.describe() for finding in repeated))
    return joined


def _rename(table: FaceTable, root: Path | None) -> FaceTable:
    """The images of one source with names relative to a folder above its own."""
    if root is None or table.image_root is None:
        return table
    prefix = Path(os.path.relpath(os.path.realpath(table.image_root), root))
    return replace(table, file_names=[(prefix / name).as_posix() for name in table.file_names])


def _write_statistics(
    statistics: LabelStatistics, table: FaceTable, anchor_sizes: Sequence[float], settings: ConversionSettings
) -> None:
    """Writes --stats and --stats-plot."""
    if settings.stats is not None:
        text = json.dumps(statistics_to_json(statistics, table.findings), indent=2, ensure_ascii=False)
        with write_file(settings.stats, force=settings.force, protect=settings.protected) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8", errors="replace", newline="\n")
    if settings.stats_plot is not None:
        from retinaface_cli.visualization.plots import draw_label_statistics  # matplotlib is slow to import

        names = ", ".join(source.name or str(source) for source in settings.sources)
        title = f"{names}: {count_of(statistics.num_images, 'image')}, {count_of(statistics.num_faces, 'face')}"
        with write_file(settings.stats_plot, force=settings.force, protect=settings.protected) as temporary:
            draw_label_statistics(statistics, anchor_sizes, temporary, title=title)


def _print_outputs(
    table: FaceTable,
    outputs: Mapping[Path, FaceTable],
    to_format: str | None,
    settings: ConversionSettings,
    console: Console,
) -> None:
    """Says what was written, what could not be held, and where the images are expected."""
    if to_format is not None:
        writer = WRITERS[to_format]
        for path, part in outputs.items():
            counts = f"{count_of(len(part), 'image')}, {count_of(writer.count_faces(part), 'face')}"
            console.print(f"Wrote {_bold(path)}: {writer.title}, {counts}", soft_wrap=True)
        losses = writer.describe_losses(table)
        if losses:
            console.print(f"[yellow]This format cannot hold[/yellow] {escape('; '.join(losses))}", soft_wrap=True)
    for extra in (settings.stats, settings.stats_plot):
        if extra is not None:
            console.print(f"Wrote {_bold(extra)}", soft_wrap=True)
    if table.image_root is not None:
        console.print(f"File names are relative to {_bold(table.image_root)}", soft_wrap=True)
    elif outputs:
        console.print("The images were not looked for: name their folder with --images to check them.")


def _bold(path: Path) -> str:
    """A path in bold, in which brackets are no markup."""
    return f"[bold]{escape(shown(path))}[/bold]"
