"""How the processes of a run share its work, through files in the output folder.

A process takes a part by making a file that must not exist yet, so a slow process holds no other up. Each process
writes every second how far it is, which tells the others that it is alive. Nothing depends on the files once a run has
ended: what is done is told by the results alone. Should two processes take the same part, as on a network disk without
exclusive creation (NFS 2), both make the same file, and one replaces the other; a part that nobody makes is missing at
the end, and is made by the next run.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from retinaface_cli.errors import shown
from retinaface_cli.files.atomic import writing
from retinaface_cli.files.manifest import FOLDER

LOST_SECONDS = 30.0
"""A process that writes nothing for so long is taken for lost."""

_BEAT_SECONDS = 1.0
_SILENT_SECONDS = 5.0

State = Literal["working", "ended", "stopped", "failed"]
"""Stopped: by the user, before the end."""


@dataclass
class ProcessStatus:
    """What is known of a process.

    Attributes:
        state: whether it works or has ended, and how.
        place: machine and number of the process.
        message: of the error.
        content: what it said last of its work.
        beat: number of times that it has written.
        changed: when the beat was last found to have changed, by the clock of this process.
    """

    state: State = "working"
    place: str = "never heard of"
    message: str = ""
    content: dict[str, Any] = field(default_factory=dict)
    beat: int = -1
    changed: float = field(default_factory=time.monotonic)


def new_token() -> str:
    """The name under which the processes of one run find each other."""
    return secrets.token_hex(8)


def clear_shared_work(root: Path) -> None:
    """Removes what runs before have left of their sharing."""
    shutil.rmtree(root / FOLDER / "work", ignore_errors=True)


class SharedWork:
    """One process's view of a run that several processes share; a process alone shares nothing and writes nothing.

    Attributes:
        problem: why the run cannot come to its end, once a process is lost or has failed; empty before.
    """

    def __init__(self, root: Path, token: str, *, rank: int, world_size: int) -> None:
        """Makes the view; all processes of a run have the same token."""
        self.problem = ""
        self._folder = root / FOLDER / "work" / token
        self._rank = rank
        self._others = {other: ProcessStatus() for other in range(world_size) if other != rank}
        self._describe: Callable[[], Mapping[str, Any]] = dict
        self._state: State = "working"
        self._message = ""
        self._beat = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="shared work", daemon=True)
        if self._others:
            with writing(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)

    def start(self, describe: Callable[[], Mapping[str, Any]]) -> None:
        """Begins to write every second what `describe` says of this process's work, as JSON can hold it."""
        self._describe = describe
        if self._others:
            for other in self._others.values():
                other.changed = time.monotonic()
            self._thread.start()

    def claim(self, number: int) -> bool:
        """Takes a part, unless another process has it.

        Raises:
            OutputError: the folder cannot be written to.
        """
        if not self._others:
            return True
        path = self._folder / f"part-{number}"
        with writing(path):
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            except FileExistsError:
                return False
        return True

    def others(self) -> list[dict[str, Any]]:
        """What the other processes said last."""
        return [other.content for other in self._others.values()]

    def explain_silence(self, rank: int) -> str:
        """That another process has not ended, and says nothing any more; nothing where it has or does."""
        status = self._others.get(rank)
        if status is None or status.state != "working" or time.monotonic() - status.changed < _SILENT_SECONDS:
            return ""
        return _describe_silence(rank, status)

    @property
    def is_stopped(self) -> bool:
        """Whether the user has stopped another process."""
        return any(other.state == "stopped" for other in self._others.values())

    def end(self, state: State, content: Mapping[str, Any], *, message: str = "") -> None:
        """Says that this process has ended and how, what it has done, and what the error was."""
        self._describe = lambda: content
        self._state, self._message = state, message
        self._exchange()

    @property
    def have_others_ended(self) -> bool:
        """Whether no other process works any more, as far as is known."""
        return all(one.state != "working" for one in self._others.values())

    def wait_for_others(self, *, is_over: Callable[[], bool]) -> None:
        """Returns when all others have ended, when one is lost, or when `is_over` says so; reads last what they say."""
        is_last_time = False
        while not (self.problem or is_last_time or self.have_others_ended):
            is_last_time = is_over()  # before reading: a process that is gone then has said its last
            if not is_last_time:
                self._stopped.wait(_BEAT_SECONDS / 5)
            self._exchange()

    def clear_claims(self) -> None:
        """Removes the files by which parts were taken, when all processes have ended."""
        if self._others:
            for path in self._folder.glob("part-*"):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Ends the writing."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _keep_beating(self) -> None:
        while not self._stopped.wait(_BEAT_SECONDS):
            self._exchange()

    def _exchange(self) -> None:
        """Writes the own status and reads those of the others."""
        if not self._others:
            return
        with self._lock:
            self._beat += 1
            content = {
                "beat": self._beat,
                "state": self._state,
                "place": f"{socket.gethostname()}, process {os.getpid()}",
                "message": self._message,
                "content": dict(self._describe()),
            }
            with contextlib.suppress(OSError):  # the others notice, if it stays so
                temporary = self._folder / f"rank-{self._rank}.new"
                temporary.write_text(json.dumps(content))
                temporary.replace(self._folder / f"rank-{self._rank}")
            for rank, status in self._others.items():
                self._read(rank, status)

    def _read(self, rank: int, status: ProcessStatus) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not there yet
            read = json.loads((self._folder / f"rank-{rank}").read_text())
            if read["beat"] != status.beat:
                status.changed = time.monotonic()
                status.beat, status.state, status.place = read["beat"], read["state"], read["place"]
                status.message, status.content = read["message"], read["content"]
        if status.state == "failed":
            self.problem = f"process {rank + 1} ({status.place}) ended with an error: {shown(status.message)}"
        elif status.state == "working" and time.monotonic() - status.changed > LOST_SECONDS:
            self.problem = _describe_silence(rank, status)


def _describe_silence(rank: int, status: ProcessStatus) -> str:
    seconds = time.monotonic() - status.changed
    return f"nothing was heard of process {rank + 1} ({status.place}) for {seconds:.0f} s"
