"""The folder of a fresh training run, and when a folder that is not empty is taken over."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from retinaface_cli.errors import OutputError, SettingsError
from retinaface_cli.training import fresh_folder
from retinaface_cli.training.fresh_folder import make_run_folder
from retinaface_cli.training.run_folder import RunFolder

CONFIG = "seed: 1\n"
TEMPORARY = ".retinaface-tmp-0123456789ab-x.yaml"

NEEDS_LOCKS = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell whether a folder is in use")


def make(output: Path | None) -> RunFolder:
    with make_run_folder(output, "faces", config=CONFIG) as folder:
        return folder


def leave_run(path: Path) -> RunFolder:
    """What a run that was killed in its first epoch leaves behind."""
    folder = RunFolder(path)
    folder.checkpoints.mkdir(parents=True)
    folder.config.write_text(CONFIG)
    folder.report.write_text(json.dumps({"status": "running", "machine": platform.node(), "slurm_job_id": "7"}))
    for file in (folder.metrics, folder.train_batch, path / TEMPORARY, folder.checkpoints / TEMPORARY):
        file.write_text("x")
    return folder


def list_files(folder: RunFolder) -> list[str]:
    return sorted(path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file())


def test_fresh_runs_of_one_name_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [make(None).path.as_posix() for _ in range(3)]
    assert paths == ["runs/train/faces", "runs/train/faces-2", "runs/train/faces-3"]


@pytest.mark.parametrize("is_named", [True, False])
def test_a_folder_that_cannot_be_made_is_named_with_the_reason(
    is_named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").touch()
    with pytest.raises(OutputError, match=r"runs/train.*: cannot be written"):
        make(Path("runs/train/faces") if is_named else None)


def test_a_named_output_may_exist_as_long_as_it_is_empty(tmp_path: Path) -> None:
    assert make(tmp_path / "a" / "b") == RunFolder(tmp_path / "a" / "b")
    assert make(tmp_path / "a" / "b") == RunFolder(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "x").touch()
    with pytest.raises(SettingsError, match="holds files already"):
        make(tmp_path / "a" / "b")
    with pytest.raises(SettingsError, match="holds files already"):
        make(tmp_path / "a" / "b" / "x")


@NEEDS_LOCKS
def test_what_a_killed_run_wrote_before_its_first_checkpoint_is_taken_over(tmp_path: Path) -> None:
    folder = leave_run(tmp_path / "run")
    assert make(folder.path) == RunFolder(folder.path, is_taken_over=True)
    assert list_files(folder) == ["config.yaml", "report.json"]
    folder.report.unlink()
    assert make(folder.path).is_taken_over
    folder.checkpoints.rmdir()
    folder.config.replace(folder.path / TEMPORARY)
    assert make(folder.path).is_taken_over
    assert list_files(folder) == []


@pytest.mark.parametrize(
    "extra",
    ["checkpoints/last.ckpt", "checkpoints/epoch-1.ckpt", "notes.txt", "photos/a.jpg", "curves.png/a.jpg", "best.ckpt"],
)
def test_a_folder_with_any_other_file_is_left_as_it_is(extra: str, tmp_path: Path) -> None:
    folder = leave_run(tmp_path / "run")
    (folder.path / extra).parent.mkdir(exist_ok=True)
    (folder.path / extra).write_text("x")
    before = list_files(folder)
    wanted = "--resume last" if extra == "checkpoints/last.ckpt" else "no checkpoint to go on from; name another --outp"
    with pytest.raises(SettingsError, match=wanted):
        make(folder.path)
    assert list_files(folder) == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yaml", "seed: 2\n"),
        ("config.yaml", None),
        ("config.yaml", "\udcff"),
        ("report.json", "[]"),
        ("report.json", "{"),
        ("report.json", '{"machine": "another"}'),
    ],
)
def test_a_run_of_other_settings_or_of_another_machine_is_left_as_it_is(
    name: str, text: str | None, tmp_path: Path
) -> None:
    folder = leave_run(tmp_path / "run")
    (folder.path / name).unlink()
    if text is not None:
        (folder.path / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    before = list_files(folder)
    with pytest.raises(SettingsError, match="holds files already, but no checkpoint"):
        make(folder.path)
    assert list_files(folder) == before


def test_links_are_left_as_they_are(tmp_path: Path) -> None:
    folder = leave_run(tmp_path / "run")
    folder.curves.symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(SettingsError, match="holds files already"):
        make(folder.path)
    assert folder.curves.is_symlink()


@NEEDS_LOCKS
def test_slurm_may_start_its_job_again_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = leave_run(tmp_path / "run")
    folder.report.write_text('{"machine": "another", "slurm_job_id": "7"}')
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(SettingsError, match="holds files already"):
        make(folder.path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert make(folder.path).is_taken_over


@NEEDS_LOCKS
def test_the_folder_of_a_living_run_is_refused_until_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh_folder, "_MAX_LOCK_SECONDS", 0.3)
    folder = leave_run(tmp_path / "run")
    program = (
        "import sys, time; from pathlib import Path; from retinaface_cli.training.fresh_folder import make_run_folder\n"
        f"with make_run_folder(Path(sys.argv[1]), 'faces', config={CONFIG!r}):\n print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, folder.path], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "\n"
        with pytest.raises(SettingsError, match=r"run: another training writes into it; name another --output"):
            make(folder.path)
    finally:
        process.kill()
        process.communicate()
    assert make(folder.path).is_taken_over


@NEEDS_LOCKS
def test_a_folder_whose_use_cannot_be_told_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int) -> None:
        raise OSError(f"no locks on this disk: {handle}")

    folder = leave_run(tmp_path / "run")
    monkeypatch.setattr(fresh_folder, "lock_handle", refuse)
    before = list_files(folder)
    with pytest.raises(SettingsError, match="holds files already"):
        make(folder.path)
    assert list_files(folder) == before
    assert make(tmp_path / "fresh") == RunFolder(tmp_path / "fresh")
    assert list((tmp_path / "fresh").iterdir()) == []
