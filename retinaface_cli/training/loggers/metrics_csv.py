"""metrics.csv: every figure of a run, a line a logged step."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from retinaface_cli.files.atomic import write_text_atomic
from retinaface_cli.training.loggers.base import RunLogger


class MetricsCsv(RunLogger):
    """Writes figures as they come; a new column rewrites the file, a line more is appended to it.

    A resumed run keeps the lines up to its checkpoint and drops those that were written after it.
    """

    def __init__(self, path: Path, *, resume_step: int | None = None) -> None:
        super().__init__("csv")
        self._path = path
        self._resume_step = resume_step
        self._columns: list[str] = ["step", "epoch"]
        self._rows: list[dict[str, str]] = []

    def _open(self) -> None:
        if self._resume_step is not None and self._path.is_file():
            self._columns, self._rows = _read_before(self._path, self._resume_step)
        self._rewrite()

    def _write_metrics(self, metrics: dict[str, float], step: int) -> None:
        values = {name: f"{value:.6g}" for name, value in metrics.items()}
        if "epoch" in metrics:
            values["epoch"] = str(int(metrics["epoch"]))
        new_columns = [name for name in values if name not in self._columns]
        self._columns += new_columns
        if self._rows and self._rows[-1]["step"] == str(step):
            self._rows[-1].update(values)
            self._rewrite()
            return
        self._rows.append({"step": str(step), **values})
        if new_columns:
            self._rewrite()
        else:
            with self._path.open("a", encoding="utf-8", newline="") as file:
                file.write(self._format(self._rows[-1:], header=False))

    def _rewrite(self) -> None:
        write_text_atomic(self._path, self._format(self._rows, header=True))

    def _format(self, rows: list[dict[str, str]], *, header: bool) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def read_curves(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Every figure of a metrics.csv by name: the steps at which it was written, and its values."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if name not in ("step", "epoch") and value:
                    steps, values = curves.setdefault(name, ([], []))
                    steps.append(int(row["step"]))
                    values.append(float(value))
    return curves


def _read_before(path: Path, step: int) -> tuple[list[str], list[dict[str, str]]]:
    """Columns, and the whole lines of earlier steps; the last line may be cut off where the run was killed."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or ("step", "epoch"))
        rows = [row for row in reader if None not in row.values() and row["step"].isdecimal()]
    kept = [{name: value for name, value in row.items() if value} for row in rows if int(row["step"]) < step]
    return columns, kept
