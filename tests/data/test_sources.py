from __future__ import annotations

import io
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from retinaface_cli.data.sources import describe_left_out, find_sources
from retinaface_cli.errors import ImageReadError
from retinaface_cli.files.listing import OWN_RESULT
from retinaface_cli.files.outputs import OutputFolder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder of (empty) image files with like names in several places."""
    for name in ("a/x.jpg", "b/x.jpg", "a/x.png", "b/c d/ü.JPEG", "a/notes.txt", ".hidden/y.jpg", "clip.mp4"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


def names(inputs: list[str]) -> list[str]:
    return [source.name for source in find_sources(inputs).sources]


def test_a_folder_gives_all_images_and_videos_below_it_sorted(tree: Path) -> None:
    assert names([str(tree)]) == ["clip.mp4", "a/x.jpg", "a/x.png", "b/x.jpg", "b/c d/ü.JPEG"]
    assert [source.is_video for source in find_sources([str(tree)]).sources] == [True, False, False, False, False]


def test_names_of_several_inputs_are_relative_to_what_holds_them_all(tree: Path) -> None:
    assert names([str(tree / "b"), str(tree / "a" / "x.jpg")]) == ["b/x.jpg", "b/c d/ü.JPEG", "a/x.jpg"]
    assert names([str(tree / "a" / "x.jpg")]) == ["x.jpg"]


def test_a_file_named_twice_comes_once(tree: Path) -> None:
    assert names([str(tree / "a"), str(tree / "a" / "x.jpg")]) == ["x.jpg", "x.png"]


def test_a_file_named_in_several_ways_comes_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert names(["a/x.jpg", str(tree / "a/x.jpg"), "./a/../a/x.jpg", "a"]) == ["x.jpg", "x.png"]


def write_results(root: Path, *result_names: str) -> None:
    with OutputFolder.open(root, identity={"weights": "a"}) as output:
        for name in result_names:
            output.write_bytes(root / name, b"drawn")


def test_results_of_a_run_are_no_inputs_of_the_next_however_they_are_named(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(tree, "viz/a/x.jpg", "crops/a/x.jpg/000.jpg")
    listing = tree.parent / "list.txt"
    own = ["a/x.jpg", "a/x.png", "b/x.jpg"]
    listed = [*own, "viz/a/x.jpg", "crops/a/x.jpg/000.jpg"]
    listing.write_text("".join(f"{tree / name}\n" for name in listed), encoding="utf-8")
    assert names([str(tree / "**" / "*.[jp][pn]g")]) == own
    assert names([str(tree / "*")]) == ["a/x.jpg", "a/x.png", "b/x.jpg", "b/c d/ü.JPEG", "clip.mp4"]
    monkeypatch.chdir(tree)
    assert names(["*/**/*.[jp][pn]g"]) == own
    for inputs in ([f"@{listing}"], ["a", "b/x.jpg", "viz", "crops"]):
        found = find_sources(inputs, output=Path("../in"))
        assert [source.name for source in found.sources if source.path.suffix != ".JPEG"] == own
        assert found.left_out[OWN_RESULT] == 2


def test_results_of_a_run_can_be_the_inputs_of_another(tree: Path) -> None:
    write_results(tree, "crops/x.jpg/000.jpg")
    assert names([str(tree / "crops" / "**" / "*.jpg")]) == ["000.jpg"]
    assert names([str(tree / "crops")]) == ["x.jpg/000.jpg"]


def test_globs_lists_and_standard_input(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names([str(tree / "*" / "*.jpg")]) == ["a/x.jpg", "b/x.jpg"]
    assert names([str(tree / "**" / "*.JPEG")]) == ["ü.JPEG"]
    listing = tree / "list.txt"
    listing.write_text(f"# chosen\n{tree / 'b' / 'x.jpg'}\n\na/x.png\n", encoding="utf-8")
    assert names([f"@{listing}"]) == ["b/x.jpg", "a/x.png"]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(f"{tree / 'a' / 'x.png'}\n".encode())))
    assert names(["-"]) == ["x.png"]


def test_a_file_that_a_list_names_but_does_not_exist_is_a_problem_of_the_run(tree: Path) -> None:
    listing = tree / "list.txt"
    listing.write_text("a/x.png\na/gone.png\n", encoding="utf-8")
    found = find_sources([f"@{listing}"])
    assert [source.path.name for source in found.sources] == ["x.png"]
    (problem,) = found.problems
    assert problem.name == "a/gone.png"
    assert "no such file" in problem.reason


def test_a_folder_named_like_a_image_is_listed_with_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "x.jpg" / "y.png").touch()
    assert names([str(tmp_path)]) == ["x.jpg/y.png"]


@pytest.mark.parametrize("inputs", [["absent"], ["absent/*.jpg"], ["@absent.txt"]])
def test_inputs_that_are_not_there_are_named(inputs: list[str]) -> None:
    with pytest.raises(ImageReadError, match="absent"):
        find_sources(inputs)


def test_a_folder_without_images_says_what_was_left_out(tmp_path: Path) -> None:
    (tmp_path / "x.heic").touch()
    with pytest.raises(ImageReadError, match=r"no images or videos found; left out: 1 \.heic; convert HEIC first"):
        find_sources([str(tmp_path)])


def test_files_of_other_kinds_are_counted_by_ending_and_heic_gets_advice(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.JFIF", "c.mpo", "d.HEIC", "e.heic", "f.nef", "no_ending", ".hidden", "sub/g.heif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listing = find_sources([str(tmp_path)])
    assert [source.name for source in listing.sources] == ["a.jpg", "b.JFIF", "c.mpo"]
    assert listing.left_out == {".heic": 2, ".nef": 1, "": 1, ".heif": 1}
    text = describe_left_out(listing)
    assert text.startswith("; left out: 2 .heic, 1 ")
    assert "1 without an ending" in text
    assert text.endswith("; convert HEIC first, e.g. with heif-convert")


def test_a_folder_that_links_to_itself_gives_each_image_once(tree: Path) -> None:
    (tree / "a" / "again").symlink_to(tree)
    assert sorted(names([str(tree)])) == sorted(["clip.mp4", "a/x.jpg", "a/x.png", "b/x.jpg", "b/c d/ü.JPEG"])


def test_a_name_that_no_result_can_hold_is_a_problem_of_the_run(tmp_path: Path) -> None:
    for name in (b"a\x1b[31m.jpg", b"b\xff.jpg", b"c\nd.jpg", "é.jpg".encode()):
        (tmp_path / os.fsdecode(name)).touch()
    found = find_sources([str(tmp_path)])
    assert [source.name for source in found.sources] == ["é.jpg"]
    assert [problem.name for problem in found.problems] == ["a\x1b[31m.jpg", "b\udcff.jpg", "c\nd.jpg"]
    assert {problem.reason for problem in found.problems} == {"its name holds control characters or is not UTF-8"}
