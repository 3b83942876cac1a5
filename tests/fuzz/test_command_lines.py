"""Command lines of any options and values: done, or refused with `error: ...`; no file that was there is changed."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import cv2
import pytest
import typer

from retinaface_cli.cli.app import app, main
from tests.detection.test_detector import noise, write_random_weights
from tests.formats.label_samples import canonical, write_text
from tests.fuzz.mutation import contents, numbers_of_cases, time_limit

BASES: dict[str, tuple[str, ...]] = {
    "convert-labels": ("in/labels.json", "out.json"),
    "infer": ("in", "-o", "out", "-w", "w.safetensors", "-m", "64", "--backend", "torch", "--precision", "32"),
    "train": ("in/config.yaml", "--print-config"),
    "evaluate": ("--predictions", "in/predictions.json", "--labels", "in/labels.json", "-o", "out"),
    "visualize": ("in", "--predictions", "in/predictions.json", "-o", "out"),
}
CONFIG = """data:
  train: [{labels: in/labels.json, images: in}]
  image_size: 64
  batch_size: 2
  num_workers: 0
backbone_weights: none
network: {backbone: mobilenet0.25}
trainer: {max_epochs: 1, accelerator: cpu}
"""
STARTS_PROCESSES = ("--devices", "--num-nodes", "-g", "--num-gpus", "--world-size")
"""Left out; tests/commands tries them."""

VALUES = (
    *(
        "in",
        "in/0--Parade/a.jpg",
        "in/labels.json",
        "in/predictions.json",
        "in/config.yaml",
        "in/list.txt",
        "@in/list.txt",
    ),
    *(
        "in/*/*.jpg",
        "in/**",
        "out",
        "out.json",
        "out/x",
        "x.yaml",
        "x.csv",
        "w.safetensors",
        "../kept",
        "../kept/a.txt",
    ),
    *(
        "",
        " ",
        ".",
        "..",
        "-",
        "--",
        "-1",
        "0",
        "1",
        "7",
        "64",
        "0.5",
        "1e999",
        "nan",
        "9" * 400,
        "none",
        "auto",
        "original",
    ),
    *(
        "1600x2150",
        "x",
        "=",
        "a=b",
        "data.batch_size=2",
        "seed=[",
        "[[10,20],[32,64],[128,256]]",
        "{",
        "*",
        "/dev/null",
    ),
    *("gone", "gone/x.jpg", "in/labels.json/x", "ü.jpg", "\udcff.jpg", "\x1b[31m", "a\nb", "a" * 300, "train", "flip"),
    *("json", "coco", "csv", "yolo", "blur", "aligned", "mobilenet0.25", "face", "val", "bf16", "16", "last"),
)


def write_inputs(folder: Path) -> None:
    """Two images with labels, predictions, a config, a list and weights; and a folder beside them."""
    work = folder / "work"
    for index, name in enumerate(("0--Parade/a.jpg", "1--Handshaking/b.jpg")):
        (work / "in" / name).parent.mkdir(parents=True)
        assert cv2.imwrite(str(work / "in" / name), noise(48, 64, seed=index))
    canonical(work / "in")
    text = (work / "in/labels.json").read_text(encoding="utf-8")
    write_text(work / "in/predictions.json", text.replace('"bbox"', '"score": 0.5, "bbox"'))
    write_text(work / "in/list.txt", "in/0--Parade/a.jpg\nin/gone.jpg\n")
    write_text(
        work / "in/config.yaml", "data: {train: [{labels: in/labels.json, images: in}]}\ntrainer: {max_epochs: 1}\n"
    )
    write_text(folder / "kept/a.txt", "kept")
    write_random_weights(work / "w.safetensors")


def options_of(command: str) -> dict[str, bool]:
    """Every spelling of every option -> whether it takes a value."""
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    found: dict[str, bool] = {}
    for parameter in group.commands[command].params:
        takes_value = not getattr(parameter, "is_flag", False)
        found.update({name: takes_value for name in (*parameter.opts, *parameter.secondary_opts) if name[:1] == "-"})
    return {name: takes for name, takes in found.items() if name not in STARTS_PROCESSES}


def random_line(command: str, options: dict[str, bool], chance: random.Random) -> list[str]:
    """A command line that would work, with some of its words changed, left out, doubled or added."""
    words = list(BASES[command])
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(words) + 1)
        kind = chance.randrange(6)
        if kind == 0 and at < len(words):
            del words[at]
        elif kind == 1 and at < len(words):
            words[at] = chance.choice(VALUES)
        elif kind == 2:
            words.insert(at, chance.choice(VALUES))
        else:
            name = chance.choice(sorted(options))
            words[at:at] = [name, chance.choice(VALUES)] if options[name] else [name]
    return [command, *words]


def may_be_replaced(words: Sequence[str]) -> set[str]:
    """Files that --force allows to replace: those that the command line names."""
    if not {"-f", "--force"}.intersection(words):
        return set()
    return {os.path.normpath(os.path.join("work", word)) for word in words}  # noqa: PTH118


def run_line(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Runs the command line in this process; its exit status, and what it printed on stderr."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["retinaface", *words])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"in/0--Parade/a.jpg\n")))
    status: object = 0
    with contextlib.redirect_stderr(written), contextlib.redirect_stdout(io.StringIO()), time_limit(60):
        try:
            main()
        except SystemExit as end:
            status = end.code
    return int(str(status or 0)), written.getvalue()


@numbers_of_cases(12)
@pytest.mark.parametrize("command", BASES)
def test_any_command_line_is_done_or_refused(
    command: str, tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inputs(tmp_path / "original")
    before = contents(tmp_path / "original")
    place = tmp_path / "place"
    monkeypatch.setenv("RETINAFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RETINAFACE_WEIGHTS_MIRROR", str(tmp_path / "mirror"))
    options = options_of(command)
    chance = random.Random(f"{command} {count}")
    for _ in range(count):
        shutil.copytree(tmp_path / "original", place)
        monkeypatch.chdir(place / "work")
        words = random_line(command, options, chance)
        status, text = run_line(words, monkeypatch)
        assert status in (0, 1, 2), words
        assert "Traceback" not in text or "--verbose" in words, words  # which shows where an error came from
        assert "\x1b" not in text, words
        after = contents(place)
        assert {name for name in before if after.get(name) != before[name]} <= may_be_replaced(words), words
        shutil.rmtree(place)
    assert {path.name for path in tmp_path.iterdir()} <= {"original", "cache", "mirror"}
