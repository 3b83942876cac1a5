"""Bounded reading of regular files, and YAML that nobody has checked."""

from __future__ import annotations

import gzip
import os
import socket
import tempfile
import tracemalloc
from pathlib import Path

import pytest

from retinaface_cli.errors import FileReadError, ImageReadError
from retinaface_cli.files.reading import (
    open_text,
    parse_json,
    parse_yaml,
    read_bytes,
    read_json,
    read_text,
    read_utf8,
    read_yaml_file,
    without_surrogates,
)


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_bytes(path, max_bytes=5) == b"12345"
    with pytest.raises(FileReadError, match="more than 4 bytes"):
        read_bytes(path, max_bytes=4)


def test_a_file_larger_than_the_bound_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileReadError, match="holds more than"):
        read_bytes(path, max_bytes=1 << 20)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_a_device_is_refused(name: str) -> None:
    with pytest.raises(FileReadError, match=r"is a device; expected a file|No such"):
        read_bytes(Path(name), max_bytes=10)


def test_a_pipe_a_socket_and_a_folder_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FileReadError, match="fifo: is a pipe"):
        read_bytes(tmp_path / "fifo", max_bytes=10)
    with pytest.raises(FileReadError, match="is a folder"):
        read_bytes(tmp_path, max_bytes=10)
    with tempfile.TemporaryDirectory(dir="/tmp") as short, socket.socket(socket.AF_UNIX) as one:
        one.bind(f"{short}/s")
        with pytest.raises(FileReadError, match="is a socket"):
            read_bytes(Path(short, "s"), max_bytes=10)


@pytest.mark.parametrize("name", ["missing", "x\0y", "n" * 5000, "a\x1b[2J"])
def test_a_name_that_no_file_has_gives_the_wanted_error_in_one_printable_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageReadError) as caught:
        read_bytes(tmp_path / name, max_bytes=10, error=ImageReadError)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(FileReadError, match="cannot be read"):
        read_bytes(tmp_path / "a", max_bytes=10)


@pytest.mark.parametrize(
    "data",
    [
        "näme".encode(),
        "näme".encode("utf-8-sig"),
        "näme".encode("utf-16"),
        b"\xfe\xff" + "näme".encode("utf-16-be"),
        "näme".encode("utf-32"),
        "näme".encode("latin-1"),
        gzip.compress("näme".encode(), mtime=0),
        gzip.compress(b"n\xe4", mtime=0) + gzip.compress(b"me", mtime=0),
    ],
)
def test_text_is_read_in_every_encoding_that_people_have(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(data)
    assert read_text(path) == "näme"
    assert read_utf8(path) == "näme".encode()
    with open_text(path) as lines:
        assert [without_surrogates(line) for line in lines] == ["näme"]


def test_the_euro_sign_of_windows_is_read_and_a_byte_without_meaning_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"5 \x80")
    (tmp_path / "b").write_bytes(b"\xe9\x81")
    assert read_text(tmp_path / "a") == "5 €"
    assert read_text(tmp_path / "b") == "é\x81"


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_at_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "bomb.json.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(b" " * (1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(FileReadError, match="more than 1,048,576 bytes"):
            read_json(path, max_bytes=1 << 20)
        with pytest.raises(FileReadError, match="more than"), open_text(path, max_bytes=1 << 20) as lines:
            list(lines)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [gzip.compress(b"abc" * 1000, mtime=0)[:-9], b"\x1f\x8b\x08\0garbage", b"\xff\xfea"])
def test_a_broken_packed_or_utf16_file_is_an_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(data)
    with pytest.raises(FileReadError, match=r"x\.gz: "):
        read_text(path)
    with pytest.raises(FileReadError, match=r"x\.gz: "), open_text(path) as lines:
        list(lines)


def test_an_error_of_the_code_that_reads_keeps_its_kind(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    with pytest.raises(ValueError, match="own"), open_text(tmp_path / "x"):
        raise ValueError("own")


def test_json_is_read_with_what_python_writes_and_strict_readers_refuse(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": [1, 2.5]}')
    assert read_json(path) == {"a": [1, 2.5]}
    assert str(parse_json(b"[NaN]", place="x")) == "[nan]"
    assert parse_json(b'["caf\\udce9.jpg"]', place="x") == ["caf\udce9.jpg"]


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"NaN [" + b"[" * 100_000, b"[1" + b"0" * 5000 + b"]x"])
def test_broken_json_is_an_error_with_its_place(data: bytes) -> None:
    with pytest.raises(FileReadError, match=r"^x\.json:1: not JSON \("):
        parse_json(data, place="x.json")


def test_the_line_of_a_fault_in_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[\n1,\n"a\n]')
    with pytest.raises(FileReadError, match=r"x\.json:3: not JSON"):
        read_json(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 2020-13-45", "month must be in 1..12"),
        ('a: !!int ""', "string index"),
        ("a: !!bool maybe", "maybe"),
        ("a: !!timestamp x", "NoneType"),
        ("a: !!float x", "could not convert"),
        ("a: " + "9" * 5000, "(4300"),
        ("a: " + "[" * 20_000, "nested too deeply"),
        ("a: " + "[" * 900 + "]" * 900, "nested too deeply"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: [", "flow"),
        ("a\x1b[31m: 1", r"#x001b"),
    ],
)
def test_what_is_no_yaml_gives_one_short_printable_line(text: str, reason: str) -> None:
    with pytest.raises(FileReadError) as caught:
        parse_yaml(text, place="a.yaml")
    message = str(caught.value)
    assert message.startswith("a.yaml: not valid YAML: ")
    assert reason in message
    assert message.isprintable() and len(message) < 300


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_the_encodings_of_other_text_files_are_read(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes("name: café\n".encode(encoding))
    assert read_yaml_file(tmp_path / "a.yaml") == {"name": "café"}


def test_pipes_devices_and_what_is_not_there_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path, reason in ((tmp_path / "pipe.yaml", "pipe"), (Path("/dev/zero"), "device"), (tmp_path / "no", "No such")):
        with pytest.raises(FileReadError, match=reason):
            read_yaml_file(path)


def test_mappings_that_merge_others_again_and_again_do_not_grow() -> None:
    merges = [f"{{<<: [{', '.join([f'*a{i}'] * 9)}]}}" for i in range(8)]
    text = "a0: &a0 {x: 1}\n" + "".join(f"a{i + 1}: &a{i + 1} {merge}\n" for i, merge in enumerate(merges))
    assert parse_yaml(text, place="a.yaml")["a8"] == {"x": 1}
