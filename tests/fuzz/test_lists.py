"""Lists of images with wrong bytes, and inputs of any text: files, or problems that can be printed."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retinaface_cli.data.sources import find_sources
from retinaface_cli.errors import shown
from retinaface_cli.files.listing import Problem, find_listed, split_list
from tests.fuzz.mutation import NUM_LONG, contents, is_refused, mutated_files, numbers_of_cases, time_limit


def write_lists(folder: Path) -> list[Path]:
    """Lists in the encodings and layouts that people have, and the images that they name."""
    names = ["a.jpg", "sub/b c.png", "sub/ü.webp", "clip.mp4"]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"image")
    (folder / "circle").symlink_to(folder)
    text = "# chosen\n\n" + "\n".join(names)
    layouts = {
        "plain.txt": text.encode(),
        "mark.txt": b"\xef\xbb\xbf" + text.encode(),
        "wide.txt": text.encode("utf-16"),
        "western.txt": text.encode("cp1252"),
        "windows.txt": text.replace("\n", "\r\n").replace("/", "\\").encode(),
        "quoted.txt": "\n".join(f'"{name}"' for name in names).encode(),
        "nul.txt": "\0".join(names).encode() + b"\0",
        "folder.txt": b"sub\n.\n",
    }
    for name, data in layouts.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in layouts]


def leads_out(data: bytes) -> bool:
    """Whether a line names a folder above the test's own, all of which would be listed."""
    lines = re.split(b"[\r\n]", data.replace(b"\0", b"\n" if b"\0s" in data[:40] else b""))
    names = [line.strip(b" \t\"'\\/") for line in lines if line.strip()]
    return any(set(name) <= set(b"./\\") and name != b"." for name in names)


@numbers_of_cases(100)
def test_lists_with_wrong_bytes_give_files_and_problems(tmp_path: Path, count: int) -> None:
    lists = write_lists(tmp_path / "in")
    before = contents(tmp_path)
    for path in mutated_files(lists, f"lists {count}", count):
        if leads_out(path.read_bytes()):
            continue

        def find(path: Path = path) -> None:
            listing = find_sources([f"@{path}"])
            assert len({source.name for source in listing.sources}) == len(listing.sources)
            assert all(
                shown(problem.name).isprintable() and problem.reason.isprintable() for problem in listing.problems
            )

        is_refused(find)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("count", [60, pytest.param(NUM_LONG, marks=pytest.mark.slow)])
def test_lists_and_inputs_of_any_text_give_files_and_problems(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lists(tmp_path)
    monkeypatch.chdir(tmp_path)

    @settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        st.binary(max_size=200), st.lists(st.text(max_size=30).filter(lambda item: item[:1] not in "-/~"), max_size=3)
    )
    def check(data: bytes, inputs: list[str]) -> None:
        with time_limit():
            for line in split_list(io.BytesIO(data)):
                assert all(isinstance(entry, Path | Problem) for entry in find_listed(line, tmp_path))
        is_refused(lambda: find_sources(inputs))

    check()
