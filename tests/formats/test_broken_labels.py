"""Whatever stands in a label file, reading it gives valid faces or one error that says where."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats import FaceTable, read_labels, write_labels
from tests.formats.label_samples import SAMPLES

WORDS = (
    b"nan", b"inf", b"-inf", b"1e400", b"-1", b"0", b"1e30", b"99999999999999999999999999", b"x", b"\xff\xfe", b"\0",
    b"", b" ", b"\n", b"\r\n", b"null", b"true", b"[]", b"{}", b"[[", b'"', b"\\ud800", b"0x10", b"1_0", b"<a>", b"&b;",
    b"-5", b"#", b",", b";", b"1e-320", b"\xef\xbb\xbf", b"\xc3\xa9", b"%s", b"NaN", b"Infinity", b"../", b"/",
)  # fmt: skip


@st.composite
def breakages(draw: st.DrawFn) -> list[tuple[str, float, float, bytes]]:
    """A few changes to a file: what, where (0 to 1), how long (0 to 1), and with which bytes."""
    kinds = st.sampled_from(("truncate", "replace", "word", "insert", "delete", "swap lines", "repeat"))
    part = st.integers(0, 9999).map(lambda number: number / 9999)
    return draw(st.lists(st.tuples(kinds, part, part, st.sampled_from(WORDS)), min_size=1, max_size=4))


def break_data(data: bytes, changes: list[tuple[str, float, float, bytes]]) -> bytes:
    for kind, where, length, word in changes:
        at = round(where * len(data))
        end = min(at + 1 + round(length * 12), len(data))
        if kind == "truncate":
            data = data[:at]
        elif kind == "replace":
            data = data[:at] + word + data[end:]
        elif kind == "word":  # the number or name that stands there
            start = max(data.rfind(mark, 0, at) for mark in (b" ", b",", b"[", b"\n", b">", b":")) + 1
            stops = [stop for mark in (b" ", b",", b"]", b"\n", b"<") if (stop := data.find(mark, at)) >= 0]
            data = data[:start] + word + data[min(stops, default=len(data)) :]
        elif kind == "insert":
            data = data[:at] + word + data[at:]
        elif kind == "delete":
            data = data[:at] + data[end:]
        elif kind == "swap lines":
            lines = data.split(b"\n")
            i, j = round(where * (len(lines) - 1)), round(length * (len(lines) - 1))
            lines[i], lines[j] = lines[j], lines[i]
            data = b"\n".join(lines)
        else:
            data = data[:end] + data[at:]
    return data


def check_valid(labels: FaceTable) -> None:
    for image in labels.label_images():
        faces = image.faces
        assert image.file_name
        assert np.isfinite(faces.boxes).all()
        assert (faces.boxes[:, :2] <= faces.boxes[:, 2:]).all()
        has_area = (faces.boxes[:, :2] < faces.boxes[:, 2:]).all(axis=1)
        assert (faces.ignore | has_area).all()
        assert (faces.boxes >= 0).all()
        if image.width is not None and image.height is not None:
            assert (faces.boxes[:, 2:] <= [image.width, image.height]).all()
        assert np.isfinite(faces.landmarks[faces.has_landmarks]).all()
        assert np.isnan(faces.landmarks[~faces.has_landmarks]).all()


@pytest.mark.parametrize("sample", SAMPLES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=breakages(), is_named=st.booleans())
def test_broken_labels_are_valid_faces_or_one_error_with_its_place(
    sample: str, changes: list[tuple[str, float, float, bytes]], is_named: bool
) -> None:
    make, inner = SAMPLES[sample]
    with tempfile.TemporaryDirectory() as name:
        source = make(Path(name) / "labels")
        broken = Path(name) / "labels" / inner
        broken.write_bytes(break_data(broken.read_bytes(), changes))
        try:
            labels = read_labels(source, format_name=sample.split()[0] if is_named else None)
        except LabelFormatError as error:
            assert str(error).startswith(name)
            return
        check_valid(labels)
        write_labels(Path(name) / "out.json", labels)
        again = read_labels(Path(name) / "out.json")
        assert [len(image.faces) for image in again.label_images()] == [
            len(image.faces) for image in labels.label_images()
        ]


@pytest.mark.parametrize("sample", SAMPLES)
@settings(max_examples=15, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_one_error_or_valid_faces(sample: str, data: bytes) -> None:
    make, inner = SAMPLES[sample]
    with tempfile.TemporaryDirectory() as name:
        source = make(Path(name) / "labels")
        (Path(name) / "labels" / inner).write_bytes(data)
        try:
            check_valid(read_labels(source, format_name=sample.split()[0]))
        except LabelFormatError as error:
            assert str(error).startswith(name)
