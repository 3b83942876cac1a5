from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retinaface_cli.cli.app import _COMMANDS, _exit_on_termination, app, main
from retinaface_cli.version import __version__

COMMANDS = tuple(_COMMANDS)


def retinaface(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "retinaface_cli", *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_help_names_every_sub_command() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in COMMANDS:
        assert command in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_sub_commands_help_has_an_example_and_takes_underscores(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    usage, body = result.output.split("Usage:")[1].split("\n", 1)
    assert command in usage
    assert f"retinaface {command}" in body
    assert CliRunner().invoke(app, [command.replace("-", "_"), "--help"]).exit_code == 0


def test_the_first_help_has_the_first_line_of_every_help_and_loads_none() -> None:
    code = (
        "import sys; from retinaface_cli.cli.app import app; app(['--help'], standalone_mode=False)\n"
        "assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    for command, line in _COMMANDS.items():
        helped = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "140"}).output
        assert helped.split("\n\n")[1] == line


def test_no_value_is_broken_in_two_where_the_help_is_narrow() -> None:
    output = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "80", "TERM": "dumb"}).output
    assert "\n    --init-config mobilenet0.25|  Write" in output
    assert "\n    resnet50|custom  " in output


def test_the_first_help_shows_no_kinds_of_values() -> None:
    output = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80", "TERM": "dumb"}).output
    assert "\n    --version  " in output
    assert "<bool>" not in output


@pytest.mark.parametrize("name", ["missing.yaml", "faces", "labels.json", "label.txt"])
@pytest.mark.parametrize(("command", "advice"), [("train", "--init-config custom"), ("evaluate", "behind -w")])
def test_what_is_no_config_is_answered_with_what_to_do(
    tmp_path: Path,
    name: str,
    command: str,
    advice: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "faces").mkdir()
    (tmp_path / "labels.json").write_text("[]")
    (tmp_path / "label.txt").write_text("# a.jpg\n1 2 3 4\n")
    monkeypatch.setattr(sys, "argv", ["retinaface", command, str(tmp_path / name)])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert advice in capsys.readouterr().err


def test_help_is_there_at_once() -> None:
    """In half a second of processor time, so that a busy machine does not count."""
    assert min(_processor_seconds_of("-m", "retinaface_cli", "--help") for _ in range(3)) < 0.5


def _processor_seconds_of(*arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_the_version_is_printed() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.output.strip() == f"retinaface-cli {__version__}"


def test_an_error_that_the_user_can_mend_is_one_line() -> None:
    finished = retinaface("infer", "absent.jpg")
    assert finished.returncode == 1
    assert finished.stderr.strip().splitlines()[-1] == "error: absent.jpg: no such file or folder"
    assert "Traceback" not in finished.stderr


def test_bad_usage_exits_with_2() -> None:
    assert CliRunner().invoke(app, ["infer", "--no-such-option"]).exit_code == 2
    assert CliRunner().invoke(app, ["no-such-command"]).exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_works(shell: str) -> None:
    variables = {
        "_RETINAFACE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "retinaface inf",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "retinaface inf",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    code = "from retinaface_cli.cli.app import app; app(prog_name='retinaface')"
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "infer" in finished.stdout


def exit_status(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> object:
    """What the process ends with where a command raises the error."""
    monkeypatch.setattr("retinaface_cli.cli.app.app", lambda: (_ for _ in ()).throw(error))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_what_the_system_refuses_is_one_line_without_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(monkeypatch, OSError(28, "No space left on device", "a\x1b[31m.jpg")) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: [Errno 28] No space left on device")
    assert "\x1b" not in message and message.count("\n") == 1
    assert "make room, then run the command again" in message


def test_an_interruption_and_a_termination_have_their_own_status(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exit_status(monkeypatch, KeyboardInterrupt()) == 130
    with pytest.raises(SystemExit) as ended:
        _exit_on_termination(os.getpid(), signal.SIGTERM, None)
    assert ended.value.code == 143


def test_a_forked_process_is_ended_without_running_what_the_main_process_puts_away() -> None:
    code = (
        "import os, signal; from functools import partial\n"
        "from retinaface_cli.cli.app import _exit_on_termination\n"
        "signal.signal(signal.SIGTERM, partial(_exit_on_termination, os.getpid()))\n"
        "child = os.fork()\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGTERM) if not child else None\n"
        "finally: print('put away', os.waitpid(child, 0)[1] >> 8 if child else 'by the child', flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("put away 143\n", "")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status(monkeypatch, ZeroDivisionError())


def test_ctrl_c_while_the_program_is_loaded_ends_it_without_a_traceback() -> None:
    code = (
        "import sys\n"
        "class Interruption:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'retinaface_cli.cli.app': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interruption())\n"
        "from retinaface_cli.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def end_of(body: str, *, stdout: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs main where the command's body is this, between a library's exit handler and an object that says its end."""
    code = (
        "import sys\n"
        "from retinaface_cli import __main__\n"
        "class PutAway:\n"
        "    def __del__(self): print('put away', flush=True)\n"
        "def run():\n"
        "    import atexit, threading, time\n"
        "    global kept\n"
        "    kept = PutAway()\n"
        "    threading.Thread(target=lambda: (time.sleep(0.3), print('thread'))).start()\n"
        "    atexit.register(print, 'exit handler')\n"
        "    print('result')\n"
        f"    {body}\n"
        "import retinaface_cli.cli.app\n"
        "retinaface_cli.cli.app.main = run\n"
        "__main__.main()\n"
    )
    with Path(stdout or os.devnull).open("w") as file:
        out = subprocess.PIPE if stdout is None else file
        return subprocess.run(
            [sys.executable, "-c", code], stdout=out, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(2)", 2, ""),
        ("sys.exit('no such thing')", 1, "no such thing"),
        ("raise KeyboardInterrupt", 130, ""),
        ("1 / 0", 1, "ZeroDivisionError"),
    ],
)
def test_the_end_keeps_status_output_threads_and_exit_handlers_and_is_quick(
    body: str, status: int, message: str
) -> None:
    done = end_of(body)
    assert (done.returncode, done.stdout) == (status, "result\nthread\nexit handler\n")
    assert message in done.stderr if message else done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_at_the_end_is_no_success() -> None:
    done = end_of("pass", stdout="/dev/full")
    assert done.returncode != 0
    assert "No space left" in done.stderr
