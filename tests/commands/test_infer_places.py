"""What is not the run's own in the place of a result: it stays as it is, is named, and costs no other result."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from retinaface_cli.errors import OutputError
from tests.commands.test_infer import images, infer, weights  # noqa: F401
from tests.data.test_video import write_motion_jpeg
from tests.fuzz.mutation import contents


def put(path: Path, kind: str = "file") -> None:
    """A file of the user's, or something else, at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        path.write_text("dear diary")
    elif kind == "folder":
        path.mkdir()
        (path / "diary.txt").write_text("dear diary")
    elif kind == "link":
        path.symlink_to(path.parent)
    else:
        os.mkfifo(path)


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("labels/a/x.jpg.json", "file"),
        ("labels/a/x.jpg.json", "folder"),
        ("labels/a/x.jpg.json", "link"),
        ("labels/a/x.jpg.json", "pipe"),
        ("viz/a/x.jpg", "file"),
        ("crops/a/x.jpg/000.jpg", "file"),
        ("anonymized/a/x.jpg", "file"),
    ],
)
def test_an_image_whose_place_is_taken_is_listed_and_the_others_are_done(
    place: str,
    kind: str,
    tmp_path: Path,
    images: Path,  # noqa: F811
    weights: Path,  # noqa: F811
) -> None:
    out = tmp_path / "out"
    put(out / place, kind)
    before = contents(out)
    for mode in ({}, {"resume": True}):
        report = infer(images, weights, out, visualize=True, crops="aligned", anonymize="blur", **mode)
        assert [failure.name for failure in report.failures] == ["a/x.jpg"]
        assert (report.num_failures, report.num_missing, report.exit_code) == (1, 0, 0)
        assert report.num_images + report.num_done_before == 4
        (listed,) = json.loads((out / "errors.json").read_text())
        assert place in listed["reason"]
        assert "name another output folder" in listed["reason"]
        together = {entry["file_name"] for entry in json.loads((out / "predictions.json").read_text())}
        assert together == {"flat.png", "a/x.png", "b/x.jpg", "b/ü y.png"}
        after = contents(out)
        assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("kind", ["file", "folder", "link", "pipe"])
def test_a_part_whose_place_is_taken_is_listed_and_the_others_are_done(
    kind: str,
    tmp_path: Path,
    images: Path,  # noqa: F811
    weights: Path,  # noqa: F811
) -> None:
    out, place = tmp_path / "out", "parts/part-00001.jsonl.gz"
    (images / "b/broken.jpg").write_bytes(b"no image")
    put(out / place, kind)
    before = contents(out)
    for mode in ({}, {"resume": True}):
        report = infer(images, weights, out, save="parts", part_size=2, **mode)
        assert {failure.name for failure in report.failures} == {place, "b/broken.jpg"}
        assert (report.num_failures, report.num_missing, report.exit_code) == (2, 0, 0)
        assert report.num_images + report.num_done_before == 4
        listed = {entry["file_name"]: entry["reason"] for entry in json.loads((out / "errors.json").read_text())}
        assert set(listed) == {place, "b/broken.jpg"}
        assert "name another output folder" in listed[place]
        after = contents(out)
        assert {name: after[name] for name in before} == before
        assert {path.name for path in (out / "parts").iterdir()} == {f"part-0000{i}.jsonl.gz" for i in range(3)}
    (out / place).rename(tmp_path / "moved")
    report = infer(images, weights, out, save="parts", part_size=2, resume=True)
    assert [failure.name for failure in report.failures] == ["b/broken.jpg"]
    assert (report.num_images, report.num_missing) == (1, 0)


def test_a_part_whose_place_is_taken_does_not_count_as_missing_after_many_failures(
    tmp_path: Path,
    images: Path,  # noqa: F811
    weights: Path,  # noqa: F811
) -> None:
    for number in range(12):
        (images / f"a/{number:02d}.jpg").write_bytes(b"no image")
    put(tmp_path / "out/parts/part-00003.jsonl.gz")
    report = infer(images, weights, tmp_path / "out", save="parts", part_size=5)
    assert (report.num_failures, report.num_images, report.num_missing, report.exit_code) == (13, 3, 0, 0)


@pytest.mark.parametrize("place", ["labels/v.avi.json", "labels/v.avi/000002.json", "viz/v.avi.mp4"])
def test_a_video_whose_place_is_taken_is_listed_once(
    place: str,
    tmp_path: Path,
    images: Path,  # noqa: F811
    weights: Path,  # noqa: F811
) -> None:
    write_motion_jpeg(images / "v.avi", 4)
    out = tmp_path / "out"
    put(out / place)
    report = infer(images, weights, out, visualize=True)
    assert [failure.name for failure in report.failures] == ["v.avi"]
    assert (report.num_missing, (out / place).read_text()) == (0, "dear diary")
    together = json.loads((out / "predictions.json").read_text())
    assert len(together) == 5
    assert not any(entry["file_name"].startswith("v.avi") for entry in together)


@pytest.mark.parametrize(
    ("place", "options"),
    [
        ("run.json", {}),
        ("predictions.json", {}),
        ("errors.json", {"save": "parts"}),
        ("predictions_coco.json", {"format": "coco"}),
        ("gallery.html", {"html": True}),
        ("labels", {}),
        ("viz", {"visualize": True}),
        ("crops", {"crops": "aligned"}),
        ("anonymized", {"anonymize": "blur"}),
        ("wider", {"format": "wider"}),
        ("parts", {"save": "parts"}),
        ("errors", {"save": "parts"}),
    ],
)
def test_a_run_that_has_no_place_for_what_all_images_share_changes_nothing(
    place: str,
    options: dict[str, Any],
    tmp_path: Path,
    images: Path,  # noqa: F811
    weights: Path,  # noqa: F811
) -> None:
    put(tmp_path / "out" / place)
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=f"{place}: .* left as it is; move it, or name another output folder"):
        infer(images, weights, tmp_path / "out", overwrite=True, **options)
    assert contents(tmp_path) == before
