"""`infer` on two machines, for which two network namespaces of this one stand."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands.test_infer import command, environment
from tests.commands.test_infer_processes import (  # noqa: F401  the fixtures
    LARGE,
    rows_of,
    run_to_end,
    shards,
    unbroken,
    wait_for_parts,
    weights,
)

pytestmark = pytest.mark.slow

NODES = (f"retinaface_a_{os.getpid()}", f"retinaface_b_{os.getpid()}")
"""Tests that run at the same time have machines of their own."""

MAX_SECONDS = 60


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[str, str]]:
    """Two namespaces with a cable between them."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs root and iproute2")
    try:
        for name in NODES:
            ip("netns", "add", name)
        ip("link", "add", "rfa", "netns", NODES[0], "type", "veth", "peer", "name", "rfb", "netns", NODES[1])
        for name, device, address in zip(NODES, ("rfa", "rfb"), ("10.77.0.1/24", "10.77.0.2/24"), strict=True):
            ip("-n", name, "addr", "add", address, "dev", device)
            ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no namespaces here: {error.stderr.decode()}")
    yield NODES
    for name in NODES:
        ip("netns", "del", name)


def start_node(number: int, inputs: Path, weights: Path, output: Path, rendezvous: str) -> subprocess.Popen[str]:  # noqa: F811
    """torchrun with one process on one of the two machines, of which the first holds what they agree on."""
    _, _, *infer = command(
        inputs, weights, output, "--save", "parts", "--precision", "32", "--backend", "torch", *LARGE
    )
    device = ("rfa", "rfb")[number]
    launch = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    if rendezvous == "static":
        launch += ["--node-rank", str(number), "--master-addr", "10.77.0.1", "--master-port", "29511"]
    else:
        launch += ["--rdzv-backend", "c10d", "--rdzv-id", "run", "--rdzv-endpoint", "10.77.0.1:29511"]
        launch += ["--local-addr", f"10.77.0.{number + 1}", "--rdzv-conf", f"is_host={number == 0}"]
    return subprocess.Popen(
        ["ip", "netns", "exec", NODES[number], sys.executable, *launch, "-m", *infer],
        env={**environment(), "GLOO_SOCKET_IFNAME": device},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def descendants(pid: int) -> Iterator[int]:
    """A process and all that come from it; torchrun puts its workers in groups of their own."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from descendants(int(child))


@pytest.mark.parametrize(
    ("lost", "signal_number", "rendezvous"),
    [
        (0, signal.SIGSTOP, "static"),  # says nothing any more, as a machine without power
        (1, signal.SIGSTOP, "static"),
        (0, signal.SIGKILL, "static"),
        (0, signal.SIGKILL, "c10d"),  # torchrun notices it, and stops the other process
    ],
)
def test_a_machine_that_is_lost_ends_the_other_with_a_message_and_the_run_goes_on(
    tmp_path: Path,
    nodes: tuple[str, str],
    shards: Path,  # noqa: F811
    weights: Path,  # noqa: F811
    unbroken: dict[str, list[Any]],  # noqa: F811
    lost: int,
    signal_number: signal.Signals,
    rendezvous: str,
) -> None:
    output = tmp_path / "out"
    processes = [start_node(number, shards, weights, output, rendezvous) for number in range(2)]
    wait_for_parts(output, 2, processes[0])
    family = list(descendants(processes[lost].pid))
    for pid in family:
        os.kill(pid, signal_number)
    stopped = time.monotonic()
    try:
        _, printed = processes[1 - lost].communicate(timeout=180)
    finally:
        for pid in [*family, processes[1 - lost].pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        processes[lost].communicate()
    seconds = time.monotonic() - stopped
    assert seconds < MAX_SECONDS
    assert processes[1 - lost].returncode != 0
    expected = (
        rf"error: another process of the run ended before .* \(nothing was heard of process {lost + 1} \(.* for \d+ s\)"
    )
    assert re.search(rf"{expected}; go on with --output {output} --resume\n", printed)
    assert all(unbroken[name] == rows for name, rows in rows_of(output).items())
    run_to_end(shards, weights, output, "--resume", *LARGE)
    assert rows_of(output) == unbroken
    assert nodes == NODES
