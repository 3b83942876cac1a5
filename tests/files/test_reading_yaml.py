"""YAML that nobody has checked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retinaface_cli.errors import FileReadError
from retinaface_cli.files.reading import parse_yaml, read_yaml_file


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
