"""How messages show paths and values."""

from pathlib import Path

import pytest

from retinaface_cli.errors import RetinaFaceError, count_of, shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Path("a/b.jpg"), "a/b.jpg"),
        ("näme 顔.jpg", "näme 顔.jpg"),
        ("a\x1b[2Jb\nc\0", "a\\x1b[2Jb\\nc\\x00"),
        ("caf\udce9.jpg", "caf\\xe9.jpg"),
        ("\ud800", "\\ud800"),
        ("x\u202egpj.exe", "x\\u202egpj.exe"),
        (b"caf\xe9", "caf\\xe9"),
        (3.5, "3.5"),
        ({"a": [1, "b"]}, "{'a': [1, 'b']}"),
        ([10**5000], "[an integer of 16610 bits]"),
    ],
)
def test_what_cannot_be_printed_is_escaped(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_a_long_text_keeps_its_head_and_its_tail() -> None:
    text = shown("a" * 5000 + "tail.jpg", max_length=60)
    assert len(text) == 60
    assert text.startswith("aaa")
    assert text.endswith("tail.jpg")


def test_a_value_that_would_take_gigabytes_to_write_out_is_cut_while_it_is_made() -> None:
    value: object = ["ha"] * 10
    for _ in range(30):
        value = [value] * 10
    assert len(shown(value)) <= 200
    assert len(shown({"k": value, "b": b"x" * 10**7, "s": "y" * 10**7})) <= 200


def test_every_error_of_the_project_has_one_base() -> None:
    import retinaface_cli.errors as errors

    names = ("SettingsError", "LabelFormatError", "CheckpointError", "ImageReadError", "FileReadError", "OutputError")
    assert all(issubclass(getattr(errors, name), RetinaFaceError) for name in names)


def test_the_text_of_an_error_can_be_printed_whatever_it_quotes() -> None:
    error = RetinaFaceError("a\x1b[31m.json: \x81 and \udcff\nb: é")
    assert str(error) == "a\\x1b[31m.json: \\x81 and \\xff\nb: é"


def test_a_count_is_written_in_words() -> None:
    counts = count_of(1, "image"), count_of(0, "face"), count_of(1200, "batch")
    assert counts == ("1 image", "0 faces", "1,200 batches")
