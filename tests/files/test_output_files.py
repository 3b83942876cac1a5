"""Single files and folders that a command writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retinaface_cli.errors import OutputError
from retinaface_cli.files.atomic import locked_temporary, remove_leftovers, write_text_atomic
from retinaface_cli.files.manifest import FOLDER
from retinaface_cli.files.output_files import check_outputs, write_file, write_folder


def _write(path: Path, text: str = "new", **options: object) -> None:
    with write_file(path, **options) as temporary:  # type: ignore[arg-type]
        temporary.write_text(text)


def _write_folder(path: Path, *names: str, **options: object) -> None:
    with write_folder(path, **options) as temporary:  # type: ignore[arg-type]
        for name in names:
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_text(name)


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if FOLDER not in path.parts)


def test_a_file_appears_whole_with_the_usual_rights_and_nothing_beside_it(tmp_path: Path) -> None:
    _write(tmp_path / "d/x.json")
    assert _names(tmp_path / "d") == ["x.json"]
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "d/x.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_that_is_there_is_replaced_only_with_force(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("user's")
    with pytest.raises(OutputError, match="exists already; --force"):
        _write(path)
    assert path.read_text() == "user's"
    _write(path, force=True)
    assert path.read_text() == "new"


def test_an_error_in_the_block_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("user's")
    with pytest.raises(RuntimeError), write_file(path, force=True) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "user's"
    assert _names(tmp_path) == ["x.json"]


def test_a_file_that_appears_during_the_writing_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(OutputError, match="File exists"), write_file(path):
        path.write_text("user's")
    assert path.read_text() == "user's"


@pytest.mark.parametrize("name", ["/dev/null", "/dev/stdout", "/dev/fd/1", "/dev/stderr", "/proc/self/fd/2", "/dev"])
def test_a_device_is_no_output_even_with_force(name: str) -> None:
    before = os.lstat(name).st_mode if os.path.lexists(name) else None
    with pytest.raises(OutputError, match=r"is a (device|link|folder)|cannot be written"):
        _write(Path(name), force=True)
    assert before is None or os.lstat(name).st_mode == before


def test_a_link_folder_or_pipe_is_no_output_even_with_force(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("user's")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "broken", "folder", "pipe"):
        with pytest.raises(OutputError, match="name a file to write"):
            _write(tmp_path / name, force=True)
    assert (tmp_path / "target").read_text() == "user's"


@pytest.mark.parametrize("name", ["x\0y", "n" * 5000, "file/x.json"])
def test_an_impossible_name_is_an_output_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        _write(tmp_path / name)
    with pytest.raises(OutputError):
        _write_folder(tmp_path / name)


def test_no_source_is_written_over_under_any_of_its_names(tmp_path: Path) -> None:
    source = tmp_path / "voc" / "a.xml"
    source.parent.mkdir()
    source.write_text("labels")
    (tmp_path / "linked").symlink_to("voc")
    (tmp_path / "hard.xml").hardlink_to(source)
    for path in (source, tmp_path / "voc/../voc/a.xml", tmp_path / "linked/a.xml", tmp_path / "hard.xml"):
        with pytest.raises(OutputError, match="is a source of this command"):
            _write(path, force=True, protect=[source])
    with pytest.raises(OutputError, match="is a source of this command"):
        _write(source, force=True, protect=[tmp_path / "linked"])
    assert source.read_text() == "labels"


def test_two_outputs_of_one_command_are_never_one_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(".")
    check_outputs([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(OutputError, match="is named for two outputs"):
        check_outputs([tmp_path / "a", tmp_path / "link" / "a"], force=True)


def test_what_a_killed_process_left_is_removed_and_a_living_ones_file_stays(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\nfrom retinaface_cli.files.output_files import write_file, write_folder\n"
        "write = write_folder if sys.argv[1] == 'folder' else write_file\n"
        "with write(pathlib.Path(sys.argv[2])) as path: os.kill(os.getpid(), 9)"
    )
    for kind in ("file", "folder"):
        subprocess.run([sys.executable, "-c", code, kind, str(tmp_path / kind)], check=False)
    assert len(_names(tmp_path)) == 2
    with write_file(tmp_path / "file") as other:
        _write(tmp_path / "file")
        assert other.exists()
        (tmp_path / "file").unlink()
    _write_folder(tmp_path / "folder", "a")
    assert _names(tmp_path) == ["file", "folder", "folder/a"]


def test_a_folder_is_replaced_only_with_force_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "yolo"
    _write_folder(path, "labels/a.txt", "data.yaml")
    with pytest.raises(OutputError, match="exists already; --force"):
        _write_folder(path, "x")
    _write_folder(path, "labels/b.txt", force=True)
    assert _names(tmp_path) == ["yolo", "yolo/labels", "yolo/labels/b.txt"]


def test_an_error_while_a_folder_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    _write_folder(tmp_path / "yolo", "labels/a.txt")
    with pytest.raises(RuntimeError), write_folder(tmp_path / "yolo", force=True) as temporary:
        (temporary / "b.txt").write_text("half")
        raise RuntimeError
    assert _names(tmp_path) == ["yolo", "yolo/labels", "yolo/labels/a.txt"]


def test_an_empty_folder_is_filled_without_force(tmp_path: Path) -> None:
    (tmp_path / "yolo").mkdir()
    _write_folder(tmp_path / "yolo", "a")
    assert _names(tmp_path / "yolo") == ["a"]


@pytest.mark.parametrize("change", ["added", "edited", "foreign"])
def test_a_folder_with_a_file_of_the_user_is_not_replaced_even_with_force(tmp_path: Path, change: str) -> None:
    path = tmp_path / "yolo"
    if change == "foreign":
        (path / "labels").mkdir(parents=True)
        (path / "labels/diary.txt").write_text("user's")
    else:
        _write_folder(path, "labels/a.txt")
        (path / "labels" / ("a.txt" if change == "edited" else "diary.txt")).write_text("user's")
    before = _names(tmp_path)
    with pytest.raises(OutputError, match="did not write labels/"):
        _write_folder(path, "b", force=True)
    assert _names(tmp_path) == before


def test_links_to_images_in_a_folder_are_its_own_and_their_targets_stay(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").write_text("image")
    for _ in range(2):
        with write_folder(tmp_path / "yolo", force=True, protect=[tmp_path / "images"]) as temporary:
            (temporary / "a.jpg").symlink_to(tmp_path / "images/a.jpg")
            (temporary / "all").symlink_to(tmp_path / "images")
    assert (tmp_path / "images/a.jpg").read_text() == "image"
    assert (tmp_path / "yolo/all/a.jpg").read_text() == "image"


def test_a_folder_with_a_source_in_it_or_that_is_one_is_not_replaced(tmp_path: Path) -> None:
    _write_folder(tmp_path / "yolo", "data.yaml")
    for source in (tmp_path, tmp_path / "yolo", tmp_path / "yolo/data.yaml"):
        with pytest.raises(OutputError, match="holds a source"):
            _write_folder(tmp_path / "yolo", "x", force=True, protect=[source])
    (tmp_path / "link").symlink_to("yolo")
    with pytest.raises(OutputError, match="is no folder"):
        _write_folder(tmp_path / "link", "x", force=True)


def test_a_folder_that_was_only_half_replaced_when_the_process_was_killed_comes_back(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\nfrom retinaface_cli.files import output_files\n"
        "rename = pathlib.Path.rename\n"
        "def killed(self, target):\n    rename(self, target)\n    os.kill(os.getpid(), 9)\n"
        "pathlib.Path.rename = killed\n"
        "with output_files.write_folder(pathlib.Path(sys.argv[1]), force=True) as path: (path / 'b').write_text('')"
    )
    _write_folder(tmp_path / "yolo", "a")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "yolo")], check=False)
    assert not (tmp_path / "yolo").exists()
    with pytest.raises(OutputError, match="exists already"):
        _write_folder(tmp_path / "yolo", "c")
    assert _names(tmp_path / "yolo") == ["a"]
    _write_folder(tmp_path / "yolo", "c", force=True)
    assert _names(tmp_path) == ["yolo", "yolo/c"]


def test_a_file_written_whole_clears_what_a_killed_process_left_for_it(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys\nfrom retinaface_cli.files.atomic import atomic_path\n"
        "with atomic_path(pathlib.Path(sys.argv[1])) as path: os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "checkpoints" / "last.ckpt"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".last.mine.ckpt").write_text("the user's")
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert len(list(path.parent.iterdir())) == 2
    write_text_atomic(path, "whole")
    assert sorted(child.name for child in path.parent.iterdir()) == [".last.mine.ckpt", "last.ckpt"]
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    with locked_temporary(path) as living:
        remove_leftovers(path.parent)
        assert living.exists()
        assert len(list(path.parent.iterdir())) == 3
