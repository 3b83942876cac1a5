"""The walk over folders, and lists of files."""

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from retinaface_cli.files.addresses import Address
from retinaface_cli.files.listing import (
    IMAGE_SUFFIXES,
    OWN_RESULT,
    FoundFile,
    LeftOut,
    Problem,
    find_listed,
    folder_of,
    read_list,
    split_list,
    walk_folder,
)
from retinaface_cli.files.outputs import OutputFolder


def _make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def _found(root: Path, **options: Any) -> list[str]:
    walk = walk_folder(root, suffixes=IMAGE_SUFFIXES, **options)
    return [entry.name for entry in walk if isinstance(entry, FoundFile)]


def _left_out(root: Path) -> Counter[str]:
    walk = walk_folder(root, suffixes=IMAGE_SUFFIXES)
    return Counter(entry.suffix for entry in walk if isinstance(entry, LeftOut))


def _problems(root: Path) -> list[Problem]:
    return [entry for entry in walk_folder(root, suffixes=IMAGE_SUFFIXES) if isinstance(entry, Problem)]


def test_files_come_in_natural_order_and_before_those_of_folders(tmp_path: Path) -> None:
    _make(tmp_path, "img10.jpg", "img2.jpg", "IMG3.JPG", "d10/a.png", "d9/a.png", "d9/01.jpg", "d9/1.jpg")
    assert _found(tmp_path) == ["img2.jpg", "IMG3.JPG", "img10.jpg", "d9/01.jpg", "d9/1.jpg", "d9/a.png", "d10/a.png"]


def test_hidden_files_and_what_systems_add_are_left_out_without_being_counted(tmp_path: Path) -> None:
    _make(
        tmp_path,
        "a.jpg",
        "._a.jpg",
        ".x/a.jpg",
        "__MACOSX/a.jpg",
        ".ipynb_checkpoints/a.jpg",
        "Thumbs.db",
        "@eaDir/a.jpg",
    )
    assert _found(tmp_path) == ["a.jpg"]
    assert not _left_out(tmp_path)


def test_a_hidden_folder_that_is_named_itself_is_listed(tmp_path: Path) -> None:
    _make(tmp_path, ".data/a.jpg")
    assert _found(tmp_path / ".data") == ["a.jpg"]


def test_files_of_other_kinds_are_counted_by_ending(tmp_path: Path) -> None:
    _make(tmp_path, "a.HEIC", "d/b.heic", "c.txt", "noending", "e.jfif")
    assert _left_out(tmp_path) == {".heic": 2, ".txt": 1, "": 1}
    assert _found(tmp_path) == ["e.jfif"]


def test_links_are_followed_and_each_folder_comes_once(tmp_path: Path) -> None:
    _make(tmp_path / "data", "real/a.jpg", "b.jpg")
    _make(tmp_path / "elsewhere", "c.jpg")
    (tmp_path / "data/loop").symlink_to(tmp_path / "data")
    (tmp_path / "data/real/up").symlink_to("..")
    (tmp_path / "data/again").symlink_to("real")
    (tmp_path / "data/out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/itself").symlink_to("itself")
    (tmp_path / "data/link.jpg").symlink_to("b.jpg")
    assert _found(tmp_path / "data") == ["b.jpg", "link.jpg", "again/a.jpg", "out/c.jpg"]


def test_a_folder_that_cannot_be_read_is_reported_and_the_rest_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(tmp_path, "a.jpg", "closed/b.jpg", "open/c.jpg")
    scan = os.scandir

    def refuse(place: str) -> object:
        if place.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)  # the tests may run as root, who may read all
    assert _found(tmp_path) == ["a.jpg", "open/c.jpg"]
    assert _problems(tmp_path) == [Problem(f"{tmp_path}/closed", "the folder cannot be read (Permission denied)")]


def test_a_missing_folder_is_a_problem_too(tmp_path: Path) -> None:
    assert len(_problems(tmp_path / "no")) == 1
    assert len(_problems(tmp_path / "n\0o")) == 1


def test_names_that_are_not_utf8_are_listed(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")).write_text("x")
    assert _found(tmp_path) == ["caf\udce9.jpg"]


def test_an_output_folder_inside_the_input_folder_is_left_out(tmp_path: Path) -> None:
    _make(tmp_path, "a.jpg", "out/viz/a.jpg")
    assert _found(tmp_path, excluded=[tmp_path / "out"]) == ["a.jpg"]
    assert _found(tmp_path, excluded=[tmp_path]) == ["a.jpg", "out/viz/a.jpg"]


def test_results_of_earlier_runs_are_no_input_even_in_the_input_folder_itself(tmp_path: Path) -> None:
    _make(tmp_path, "a.jpg", "viz/own.jpg")
    for root in (tmp_path, tmp_path / "other"):
        with OutputFolder.open(root, identity={}) as output:
            output.write_bytes(root / "viz" / "a.jpg", b"drawn")
    assert _found(tmp_path) == ["a.jpg", "viz/own.jpg"]
    assert _left_out(tmp_path) == {OWN_RESULT: 2}
    assert "viz/a.jpg" in _found(tmp_path, own_results=True)
    assert _found(tmp_path / "viz") == ["a.jpg", "own.jpg"]


def test_the_walk_is_a_stream(tmp_path: Path) -> None:
    _make(tmp_path, "a.jpg", "d/b.jpg")
    walk = walk_folder(tmp_path, suffixes=())
    assert isinstance(next(walk), FoundFile)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES - {".dib", ".jfif", ".mpo", ".jpe", ".apng", ".j2k"}))
def test_every_ending_on_the_list_is_one_that_opencv_writes_and_reads(suffix: str) -> None:
    image = np.zeros((64, 64, 1 if suffix in (".pgm", ".pbm") else 3), np.uint8)
    is_done, data = cv2.imencode(suffix, image)
    assert is_done
    assert cv2.imdecode(data, cv2.IMREAD_COLOR) is not None


def _entries(lines: Iterable[str | Problem], folder: Path | Address = Path()) -> Iterator[Path | Address | Problem]:
    return chain.from_iterable(find_listed(line, folder) for line in lines)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    _make(tmp_path, "lists/beside.jpg", "a.jpg", "näme.jpg", "with space.jpg", "d/b.jpg", "#1.jpg", '"quoted".jpg')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("a.jpg\nnäme.jpg\n".encode("utf-8-sig"), ["a.jpg", "näme.jpg"]),
        ("a.jpg\r\nnäme.jpg\r\n".encode("utf-16"), ["a.jpg", "näme.jpg"]),
        ("a.jpg\nnäme.jpg".encode("latin-1"), ["a.jpg", "näme.jpg"]),
        (b"a.jpg\0with space.jpg\0d/b.jpg\0", ["a.jpg", "with space.jpg", "d/b.jpg"]),
        (b"\"with space.jpg\"\n'a.jpg'\n  a.jpg \n", ["with space.jpg", "a.jpg", "a.jpg"]),
        (b"# comment\n\n#1.jpg\na.jpg", ["#1.jpg", "a.jpg"]),
        (b'"quoted".jpg\n', ['"quoted".jpg']),
        (b"d\\b.jpg\r\n", ["d/b.jpg"]),
        (b"beside.jpg\n", ["lists/beside.jpg"]),
        (b"", []),
    ],
)
def test_a_list_of_every_common_kind_is_read(folder: Path, data: bytes, expected: list[str]) -> None:
    path = folder / "lists" / "list.txt"
    path.write_bytes(data)
    found = _entries(read_list(str(path)), folder_of(str(path)))
    assert [os.path.relpath(entry, folder) for entry in found if isinstance(entry, Path)] == expected


def test_a_name_on_the_disk_that_is_not_utf8_is_found(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (folder / name).write_text("x")
    assert list(_entries(split_list(io.BytesIO(b"caf\xe9.jpg\n")))) == [Path(name)]


def test_entries_that_no_file_can_have_are_reported_and_the_rest_is_read(folder: Path) -> None:
    data = b"a.jpg\n" + b"n" * 5000 + b"\nx\0y.jpg\nmissing.jpg\n" + b"z" * 1_000_000 + b"\nd/b.jpg"
    entries = list(_entries(split_list(io.BytesIO(data)), folder))
    assert entries[0] == Path("a.jpg")
    assert entries[-1] == Path("d/b.jpg")
    reasons = [entry.reason for entry in entries[1:-1] if isinstance(entry, Problem)]
    assert reasons == [
        "the name is too long",
        "a name cannot hold a NUL character",
        "no such file or folder",
        "the line is longer than 65,536 characters",
    ]


def test_a_long_list_is_read_as_a_stream(folder: Path) -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            buffer[:] = (b"a.jpg\n" * (len(buffer) // 6 + 1))[: len(buffer)]
            return len(buffer)

    entries = _entries(split_list(io.BufferedReader(Endless())), folder)
    assert [next(entries) for _ in range(3)] == [Path("a.jpg")] * 3
