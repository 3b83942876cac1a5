"""Names of results from unchecked names."""

import itertools
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retinaface_cli.files.names import safe_name

NAMES = [
    "a.jpg", "b/a.jpg", "/b/a.jpg", "../b/a.jpg", "b/../a.jpg", "b/./a.jpg", "//b//a.jpg", "C:\\b\\a.jpg", "C:a.jpg",
    "b\\a.jpg", "..", ".", "", "/", "a\0.jpg", "a\n.jpg", "a_.jpg", "a\udce9.jpg", "a\ud800.jpg", "n" * 300 + ".jpg",
    "n" * 301 + ".jpg", "顔" * 100 + ".jpg", "d" * 300 + "/a.jpg", "d" * 301 + "/a.jpg", "/".join(["x" * 200] * 30),
    "a.jpg.json/b.jpg", "a.jpg.json~/b.jpg", "a.jpg.jpg", "a", "a.1", "a.1.jpg", "a.png", "a.png.jpg", "a.png.jpg.jpg",
    ".retinaface/manifest", "_.retinaface/manifest", ".retinaface", "x\x1b[2J.jpg",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jpg", "a.jpg.json"), ("b/a.b.jpg", "b/a.b.jpg.json"), ("v.mp4/000001", "v.mp4/000001.json")],
)
def test_a_plain_name_gets_the_ending_added(name: str, expected: str) -> None:
    assert safe_name(name, suffix=".json") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("b/a.jpg", "b/a.jpg"), ("a.png", "a.png.jpg"), ("a.png.jpg", "a.png.jpg.jpg"), ("a.1.jpg", "a.1.jpg")],
)
def test_an_image_that_has_the_ending_keeps_its_name(name: str, expected: str) -> None:
    assert safe_name(name, suffix=".jpg", keep_suffix=True) == expected


@pytest.mark.parametrize("suffix", [".json", ".jpg", ".png", ""])
@pytest.mark.parametrize("keep_suffix", [False, True])
def test_different_names_have_different_results_that_can_lie_side_by_side(suffix: str, keep_suffix: bool) -> None:
    results = {safe_name(name, suffix=suffix, keep_suffix=keep_suffix): name for name in NAMES}
    assert len(results) == len(NAMES)
    if suffix:
        for one, other in itertools.permutations(results, 2):
            assert PurePosixPath(one) not in PurePosixPath(other).parents


def test_a_name_that_imitates_a_changed_one_is_changed_itself() -> None:
    changed = safe_name("/x", suffix=".jpg")
    assert safe_name(changed.removesuffix(".jpg"), suffix=".jpg") != changed
    assert safe_name(changed, suffix=".jpg", keep_suffix=True) != safe_name("/x", suffix=".jpg", keep_suffix=True)


@given(
    name=st.text(st.characters(codec=None), max_size=60)
    | st.lists(st.sampled_from(["..", "a", "b.jpg", "/", "\\"])).map("/".join),
    keep_suffix=st.booleans(),
)
def test_every_name_gives_a_possible_path_below_the_root(name: str, keep_suffix: bool) -> None:
    result = safe_name(name, suffix=".jpg", keep_suffix=keep_suffix)
    parts = result.split("/")
    assert all(part not in ("", ".", "..") and len(part.encode()) <= 250 for part in parts)
    assert result.endswith(".jpg")
    assert not parts[0].startswith(".retinaface")
    assert not any(ord(character) < 32 for character in result)
