"""MATLAB files, held to those that SciPy writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.mat_files import read_mat


@pytest.mark.parametrize("compressed", [False, True])
def test_numbers_texts_and_cells_are_read(compressed: bool, tmp_path: Path) -> None:
    cells = np.empty((2, 2), object)
    cells[0, 0], cells[1, 0], cells[0, 1] = "name", np.array([[1.5]]), np.zeros((0, 4))
    cells[1, 1] = np.array(["é", "x"], object)
    content = {"doubles": np.arange(6.0).reshape(2, 3), "bytes": np.array([[1, 255]], np.uint8), "cells": cells}
    content["unwanted"] = np.ones((3, 3))
    savemat(tmp_path / "x.mat", content, do_compression=compressed)
    found = read_mat(tmp_path / "x.mat", ("doubles", "bytes", "cells", "absent"))
    assert set(found) == {"doubles", "bytes", "cells"}
    np.testing.assert_array_equal(found["doubles"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["bytes"], [[1, 255]])
    assert isinstance(found["cells"], list)
    name, number, nothing, inner = found["cells"]
    assert name == "name"
    np.testing.assert_array_equal(number, [[1.5]])
    assert nothing.shape == (0, 4)
    assert inner == ["é", "x"]


@pytest.mark.parametrize(
    "kind", ["int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
def test_every_type_of_number_is_read(kind: str, tmp_path: Path) -> None:
    values = np.array([[1, 2], [3, 100]], kind)
    savemat(tmp_path / "x.mat", {"x": values})
    np.testing.assert_array_equal(read_mat(tmp_path / "x.mat", ("x",))["x"], values)


def test_a_variable_of_another_kind_is_none(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"x": {"a": 1}})
    assert read_mat(tmp_path / "x.mat", ("x",)) == {"x": None}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a MATLAB 5 file, got b''"),
        (b"MATLAB 7.3 MAT-file", "save it with -v7"),
        (b"MATLAB 5.0".ljust(124) + b"\0\1IM" + b"\x0e\0\0\0\xff\0\0\0", "an element of 255 bytes passes the end"),
    ],
)
def test_other_files_are_an_error(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.mat").write_bytes(data)
    with pytest.raises(LabelFormatError, match=message):
        read_mat(tmp_path / "x.mat", ("x",))


def test_a_file_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"x": np.arange(100.0)}, do_compression=True)
    (tmp_path / "x.mat").write_bytes((tmp_path / "x.mat").read_bytes()[:-20])
    with pytest.raises(LabelFormatError, match="a broken MATLAB file"):
        read_mat(tmp_path / "x.mat", ("x",))
