"""Loading a command's libraries without the garbage collector."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from retinaface_cli.commands.loading import loading


def test_the_collector_pauses_while_modules_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_once.py").write_text("import gc\nwas_enabled = gc.isenabled()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    gc.unfreeze()
    with loading():
        module = import_module("imported_once")
    try:
        assert not module.was_enabled
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_failing_import_leaves_the_collector_on() -> None:
    with pytest.raises(ModuleNotFoundError), loading():
        import_module("no_such_module")
    assert gc.isenabled()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_process_even_where_a_library_would_catch_it(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    swallow = f"import os\ntry:\n    os.kill(os.getpid(), {int(number)})\nexcept BaseException:\n    pass\n"
    (tmp_path / "swallowing.py").write_text(swallow)
    program = (
        "from retinaface_cli.commands.loading import loading\nwith loading():\n    import swallowing\nprint('went on')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


@pytest.mark.parametrize("command", ["infer", "train", "evaluate", "export"])
def test_every_command_that_needs_torch_imports_it_so(command: str, tmp_path: Path) -> None:
    needed = {
        "infer": ["no_such_folder"],
        "train": ["no_such.yaml"],
        "evaluate": ["--labels", "no_such.json", "-w", "yunet"],
        "export": ["no_such.pth", "-o", "x.onnx"],
    }
    program = (
        "import gc, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torch':\n"
        "            print('collector', gc.isenabled())\n"
        "sys.meta_path.insert(0, Watch())\n"
        "from retinaface_cli.__main__ import main\n"
        f"sys.argv = ['retinaface', {command!r}, *{needed[command]!r}]\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines()[:1] == ["collector False"], done.stderr
