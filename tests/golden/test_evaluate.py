"""Reports of every protocol, from fixed predictions and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.golden.face_files import make_labels, make_predictions, to_coco, write_ground_truth, write_json
from tests.golden.golden import Tolerance, check_json, read_content, relative_files, retinaface

CLOSE = Tolerance(absolute=1e-9)
LEFT_OUT = ("versions", "created", "seconds")


def evaluate(root: Path, labels: Path, *options: str | Path) -> dict[str, Any]:
    """The exit code, the files written, and the report."""
    output = root / "out"
    predictions = write_json(root / "predictions.json", make_predictions(make_labels()))
    code = retinaface("evaluate", "-p", predictions, "-l", labels, "-o", output, *options)
    report = read_content(output / "report.json", root=root)
    kept = {key: value for key, value in report.items() if key not in LEFT_OUT}
    return {"exit_code": code, "files": relative_files(output), "report": kept}


@pytest.mark.parametrize("protocol", ["wider", "coco", "ap50", "landmarks"])
def test_each_protocol_reports_as_ever(protocol: str, tmp_path: Path) -> None:
    labels = write_json(tmp_path / "labels.json", make_labels())
    check_json(f"evaluate/{protocol}", evaluate(tmp_path, labels, "--protocol", protocol), other=CLOSE)


def test_ground_truth_of_wider_face_gives_easy_medium_and_hard_as_ever(tmp_path: Path) -> None:
    folder = write_ground_truth(tmp_path / "ground_truth", make_labels())
    check_json("evaluate/wider_mat", evaluate(tmp_path, folder), other=CLOSE)


def test_coco_labels_are_scored_by_all_protocols_as_ever(tmp_path: Path) -> None:
    labels = write_json(tmp_path / "coco.json", to_coco(make_labels()))
    check_json("evaluate/coco_labels", evaluate(tmp_path, labels), other=CLOSE)


def test_two_sets_of_predictions_stand_side_by_side_as_ever(tmp_path: Path) -> None:
    labels = write_json(tmp_path / "labels.json", make_labels())
    second = write_json(tmp_path / "second.json", make_predictions(make_labels(), seed=2, shift=6))
    check_json("evaluate/two_predictions", evaluate(tmp_path, labels, "-p", second), other=CLOSE)
