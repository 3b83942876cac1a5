"""The writer of a run's results: nothing but its own files is ever changed."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from retinaface_cli.errors import OutputError, PlaceTakenError
from retinaface_cli.files.manifest import FOLDER, stamp_of
from retinaface_cli.files.outputs import Mode, OutputFolder
from tests.files.killed_run import NUM_FILES

IDENTITY = {"weights": "abc", "settings": {"scale": 640}}


def _open(root: Path, mode: Mode = "new", **options: object) -> OutputFolder:
    return OutputFolder.open(root, identity=IDENTITY, mode=mode, **options)  # type: ignore[arg-type]


def _tree(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and FOLDER not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_results_are_written_with_their_folders_and_leave_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "runs/1"
    with _open(root) as output:
        output.write_json(output.path("labels", "d/a.jpg", suffix=".json"), {"a": 1})
        output.write_text(root / "note.txt", "näme\udce9")
        with output.new_file(output.path("viz", "d/a.jpg", suffix=".jpg", keep_suffix=True)) as temporary:
            assert temporary.suffix == ".jpg"
            temporary.write_bytes(b"drawn")
    assert sorted(_tree(root)) == ["labels/d/a.jpg.json", "note.txt", "viz/d/a.jpg"]
    assert list((root / FOLDER / "tmp").iterdir()) == []
    mask = os.umask(0)
    os.umask(mask)
    assert (root / "note.txt").stat().st_mode & 0o777 == 0o666 & ~mask


def test_an_error_in_the_block_leaves_what_was_there(tmp_path: Path) -> None:
    with _open(tmp_path) as output:
        output.write_text(tmp_path / "a", "first")
        with pytest.raises(RuntimeError), output.new_file(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise RuntimeError
    assert _tree(tmp_path) == {"a": b"first"}
    assert list((tmp_path / FOLDER / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../../other/a.jpg", "/etc/x.jpg", "..\\..\\other\\a.jpg", "C:\\a.jpg", "a/../../b.jpg"]
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with _open(tmp_path / "out") as output:
        output.write_text(output.path("labels", name, suffix=".json"), "x")
    assert [path for path in tmp_path.rglob("*.json") if (tmp_path / "out/labels") not in path.parents] == []
    assert len(_tree(tmp_path / "out")) == 1


def test_a_path_outside_or_of_the_manifest_is_refused(tmp_path: Path) -> None:
    with _open(tmp_path / "out") as output:
        for path in ("../a", "labels/../../a", f"{FOLDER}/manifest", "", str(tmp_path / "b")):
            with pytest.raises(OutputError, match="is not in the output folder"):
                output.write_text(tmp_path / "out" / path, "x")


def test_a_link_in_the_folder_is_neither_followed_nor_replaced(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a").write_text("user's")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/labels").symlink_to(tmp_path / "other")
    (tmp_path / "out/link").symlink_to(tmp_path / "other/a")
    with _open(tmp_path / "out") as output:
        for name in ("labels/a", "labels/new", "link"):
            with pytest.raises(OutputError, match=r"is a link|no regular file"):
                output.write_text(tmp_path / "out" / name, "x")
    assert _tree(tmp_path / "other") == {"a": b"user's"}


def test_files_folders_and_pipes_that_are_not_the_runs_own_are_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("user's")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with _open(tmp_path) as output:
        for name in ("a", "folder", "pipe", "a/b"):
            with pytest.raises(OutputError):
                output.write_text(tmp_path / name, "x")
        with pytest.raises(OutputError):
            output.remove(tmp_path / "a")
    assert _tree(tmp_path) == {"a": b"user's"}


@pytest.mark.parametrize("name", ["a", "folder", "pipe", "link", "a/", "pipe/", "link/", "a/b/"])
def test_a_folder_that_has_no_place_for_a_sure_result_is_not_begun(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_text("user's")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(PlaceTakenError, match="name another output folder"):
        OutputFolder.open(tmp_path, identity={}, mode="overwrite", results=["new", "folder/", "folder/new", name])
    assert sorted(tmp_path.iterdir()) == before


def test_a_result_that_the_user_changed_is_not_written_over_or_deleted(tmp_path: Path) -> None:
    with _open(tmp_path) as output:
        output.write_text(tmp_path / "a", "made")
        output.write_text(tmp_path / "b", "made")
        (tmp_path / "a").write_text("edit")
        with pytest.raises(OutputError, match="changed since"):
            output.write_text(tmp_path / "a", "x")
        output.write_text(tmp_path / "b", "second")
    with _open(tmp_path, "overwrite") as output:
        assert output.changed == ["a"]
    assert _tree(tmp_path) == {"a": b"edit"}


def test_a_result_that_is_there_byte_for_byte_is_taken_as_written(tmp_path: Path) -> None:
    with _open(tmp_path) as output:
        output.write_text(tmp_path / "a", "x")
    manifest = tmp_path / FOLDER / "manifest"
    manifest.write_bytes(manifest.read_bytes().splitlines()[0])  # a power cut took the line
    with _open(tmp_path, "resume") as output:
        assert not output.is_whole(tmp_path / "a")
        with pytest.raises(OutputError):
            output.write_text(tmp_path / "a", "y")
        output.write_text(tmp_path / "a", "x")
        assert output.is_whole(tmp_path / "a")


def test_a_file_that_appears_during_the_writing_is_not_replaced(tmp_path: Path) -> None:
    with (
        _open(tmp_path) as output,
        pytest.raises(OutputError, match="was not written by this tool"),
        output.new_file(tmp_path / "a") as temporary,
    ):
        temporary.write_text("x")
        (tmp_path / "a").write_text("user's")
    assert _tree(tmp_path) == {"a": b"user's"}


def test_an_input_that_is_a_result_of_an_earlier_run_is_protected(tmp_path: Path) -> None:
    with _open(tmp_path) as output:
        output.write_text(tmp_path / "crops/a.jpg", "x")
        output.write_text(tmp_path / "b", "x")
    with pytest.raises(OutputError, match="is an input of this run"):
        _open(tmp_path, "overwrite", protect=[tmp_path / "crops/a.jpg"])
    with (
        _open(tmp_path, "resume", protect=[tmp_path / "crops/../crops/a.jpg"]) as output,
        pytest.raises(OutputError, match="is an input of this run"),
    ):
        output.write_text(tmp_path / "crops/a.jpg", "y")
    assert len(_tree(tmp_path)) == 2


def test_overwrite_deletes_only_what_runs_wrote_and_folders_left_empty(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/user.txt").write_text("user's")
    (tmp_path / "empty").mkdir()
    with _open(tmp_path) as output:
        for name in ("labels/a.json", "crops/d/a.jpg"):
            output.write_text(tmp_path / name, "x")
    with _open(tmp_path, "overwrite"):
        pass
    assert _tree(tmp_path) == {"labels/user.txt": b"user's"}
    assert (tmp_path / "empty").is_dir()
    assert not (tmp_path / "crops").exists()


def test_overwrite_does_not_delete_over_a_link_that_took_a_folders_place(tmp_path: Path) -> None:
    with _open(tmp_path / "out") as output:
        output.write_text(tmp_path / "out/labels/a", "x")
    (tmp_path / "out/labels").rename(tmp_path / "moved")
    (tmp_path / "out/labels").symlink_to(tmp_path / "moved")
    with _open(tmp_path / "out", "overwrite"):
        pass
    assert _tree(tmp_path / "moved") == {"a": b"x"}


@pytest.mark.parametrize("line", ["../user", "/etc/passwd", "a/../../user"])
def test_a_forged_manifest_leads_nowhere_else(tmp_path: Path, line: str) -> None:
    (tmp_path / "user").write_text("x")
    with _open(tmp_path / "out") as output:
        output.write_text(tmp_path / "out/a", "x")
    manifest = tmp_path / "out" / FOLDER / "manifest"
    manifest.write_text(manifest.read_text().replace('"a"', json.dumps(line)))
    with _open(tmp_path / "out", "overwrite"):
        pass
    assert (tmp_path / "user").exists()


def test_links_in_place_of_the_manifest_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user/a").write_text("x")
    (tmp_path / "out" / FOLDER).mkdir(parents=True)
    (tmp_path / "out" / FOLDER / "tmp").symlink_to(tmp_path / "user")
    with pytest.raises(OutputError, match="is no folder"):
        _open(tmp_path / "out")
    assert (tmp_path / "user/a").exists()


@pytest.mark.parametrize("name", ["/dev/null", "/dev/stdout", "x\0y"])
def test_a_device_or_impossible_name_is_no_output_folder(name: str) -> None:
    with pytest.raises(OutputError):
        _open(Path(name))


def test_a_folder_with_results_must_be_resumed_or_overwritten(tmp_path: Path) -> None:
    _open(tmp_path).close()
    with pytest.raises(OutputError, match="--resume to go on, --overwrite"):
        _open(tmp_path)


def test_resume_goes_on_only_with_the_same_run(tmp_path: Path) -> None:
    _open(tmp_path).close()
    _open(tmp_path, "resume").close()
    with pytest.raises(OutputError, match=r"settings\.scale was 640, is 1024"):
        OutputFolder.open(tmp_path, identity={**IDENTITY, "settings": {"scale": 1024}}, mode="resume")


def test_resume_begins_in_an_empty_folder_and_refuses_one_of_others(tmp_path: Path) -> None:
    _open(tmp_path / "new", "resume").close()
    (tmp_path / "user/labels").mkdir(parents=True)
    with pytest.raises(OutputError, match="holds no run that can go on"):
        _open(tmp_path / "user", "resume")


@pytest.mark.parametrize(
    "content", ["", "[]", "5", "null", '{"retinaface": 1}', '{"retinaface": 1, "identity": 5}', "[" * 9999]
)
def test_a_manifest_that_was_destroyed_is_no_run_to_go_on_with(tmp_path: Path, content: str) -> None:
    with _open(tmp_path) as output:
        output.write_text(tmp_path / "a", "x")
    (tmp_path / FOLDER / "manifest").write_text(content)
    with pytest.raises(OutputError):
        _open(tmp_path, "resume")
    _open(tmp_path, "overwrite").close()
    assert (tmp_path / "a").exists()


def test_only_results_that_are_whole_and_of_the_same_source_count_as_done(tmp_path: Path) -> None:
    image = tmp_path / "a.jpg"
    image.write_text("image")
    root = tmp_path / "out"
    with _open(root) as output:
        output.write_text(root / "a", "result", source=stamp_of(image))
        output.write_text(root / "b", "result")
        output.write_text(root / "c", "result")
    (root / "foreign").write_text("")
    (root / "b").write_text("")
    with _open(root, "resume") as output:
        whole = {name: output.is_whole(root / name) for name in ("a", "b", "c", "foreign", "missing")}
        assert whole == {"a": True, "b": False, "c": True, "foreign": False, "missing": False}
        assert output.is_whole(root / "a", source=stamp_of(image))
        image.write_text("another image")
        assert not output.is_whole(root / "a", source=stamp_of(image))


def test_a_copied_output_folder_can_go_on(tmp_path: Path) -> None:
    with _open(tmp_path / "out") as output:
        output.write_text(tmp_path / "out/a", "x")
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    with _open(tmp_path / "copy", "resume") as output:
        assert output.is_whole(tmp_path / "copy/a")


def test_two_processes_write_side_by_side(tmp_path: Path) -> None:
    with _open(tmp_path) as first, OutputFolder.join(tmp_path, rank=1) as second:
        first.write_text(tmp_path / "labels/a", "0")
        second.write_text(tmp_path / "labels/b", "1")
        assert not first.is_whole(tmp_path / "labels/b")
        first.refresh()
        assert first.is_whole(tmp_path / "labels/b")
    with _open(tmp_path, "overwrite"):
        pass
    assert _tree(tmp_path) == {}
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["manifest", "tmp"]


@pytest.mark.parametrize("again", [False, True])
def test_an_output_folder_that_is_deleted_during_the_run_is_an_error(tmp_path: Path, again: bool) -> None:
    root = tmp_path / "out"
    with _open(root) as output:
        output.write_text(root / "a", "x")
        shutil.rmtree(root)
        if again:
            (root / FOLDER / "tmp").mkdir(parents=True)
        with pytest.raises(OutputError, match="was deleted during the run"):
            output.write_text(root / "b", "x")
        assert not (root / "b").exists()


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with _open(tmp_path) as output:
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(OutputError, match="No space left on device"):
            output.write_text(tmp_path / "a", "x")
    assert _tree(tmp_path) == {}


def test_long_and_odd_names_are_written(tmp_path: Path) -> None:
    names = [
        "n" * 255,
        "顔" * 80 + ".jpg",
        "a\0b",
        "caf\udce9.jpg",
        "a.jpg",
        "a.jpg.json/b.jpg",
        "/".join(["d" * 250] * 16),
    ]
    with _open(tmp_path) as output:
        for name in names:
            output.write_text(output.path("labels", name, suffix=".json"), name)
    assert len(_tree(tmp_path)) == len(names)


def test_a_line_of_the_manifest_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    with _open(tmp_path) as output:
        output.write_text(tmp_path / "a", "x")
        output.write_text(tmp_path / "b", "x")
    manifest = tmp_path / FOLDER / "manifest"
    manifest.write_bytes(manifest.read_bytes()[:-1])
    with _open(tmp_path, "resume") as output:
        output.write_text(tmp_path / "c", "x")
    with _open(tmp_path, "resume") as output:
        assert [output.is_whole(tmp_path / name) for name in "abc"] == [True, False, True]


@pytest.mark.parametrize("step", range(12))
def test_a_run_that_fails_at_any_step_of_its_start_can_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with _open(tmp_path) as output:
        for name in ("a", "d/b"):
            output.write_text(tmp_path / name, "x")
    (tmp_path / "user").write_text("x")
    num_calls = 0

    def killed_at_step(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal num_calls
            num_calls += 1
            if num_calls > step:
                raise KeyboardInterrupt
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        for name in ("unlink", "rmdir", "mkdir", "replace", "write_bytes"):
            patch.setattr(Path, name, killed_at_step(getattr(Path, name)))
        _open(tmp_path, "overwrite").close()
    with _open(tmp_path, "overwrite") as output:
        output.write_text(tmp_path / "a", "y")
    assert _tree(tmp_path) == {"a": b"y", "user": b"x"}
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["manifest", "tmp"]


def test_many_files_are_cheap_to_record_and_to_prove(tmp_path: Path) -> None:
    from retinaface_cli.files.manifest import Manifest, header

    manifest = Manifest(tmp_path)
    start = time.perf_counter()
    lines = [manifest.add(f"labels/folder/{i:08d}.jpg.json", 300, i) for i in range(100_000)]
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "manifest").write_bytes(header({}) + b"".join(lines))
    assert len(Manifest.read(tmp_path)) == 100_000
    assert time.perf_counter() - start < 5


def test_a_run_that_is_killed_at_any_moment_goes_on_and_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    rng = random.Random(0)
    command = [sys.executable, "-m", "tests.files.killed_run"]
    subprocess.run([*command, str(tmp_path / "unbroken")], check=True, stdout=subprocess.DEVNULL)
    num_killed = 0
    for _ in range(12):
        with subprocess.Popen([*command, str(tmp_path / "out")], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                process.wait(rng.uniform(0, 0.03))
            except subprocess.TimeoutExpired:
                process.kill()
                num_killed += 1
    subprocess.run([*command, str(tmp_path / "out")], check=True, stdout=subprocess.DEVNULL)
    assert num_killed > 3
    assert _tree(tmp_path / "out") == _tree(tmp_path / "unbroken")
    assert len(_tree(tmp_path / "out")) == NUM_FILES + 1
    assert list((tmp_path / "out" / FOLDER / "tmp").iterdir()) == []
    with OutputFolder.open(tmp_path / "out", identity={}, mode="overwrite") as output:
        assert output.changed == []
    assert _tree(tmp_path / "out") == {}
