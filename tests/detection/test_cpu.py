"""Memory and threads on the CPU."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from retinaface_cli.detection.cpu import CallThreads, num_parallel_calls, threads_a_call

PROGRAM = """
import resource, sys
import torch
from torch import nn
from retinaface_cli.detection.cpu import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.set_num_threads(1)
network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1))
images = torch.rand(2, 3, 800, 800)
for step in range(6):
    if step == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(images).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_training_steps_use_the_memory_of_the_steps_before_without_asking_the_kernel_for_pages() -> None:
    faults = {}
    for mode in ("keep", "default"):
        command = [sys.executable, "-c", PROGRAM, mode]
        faults[mode] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert faults["keep"] < faults["default"] / 3


CACHE_PROGRAM = """
import sys
import torch
from torch import nn
from retinaface_cli.detection.cpu import keep_prepared_operations
if sys.argv[1] == "keep":
    keep_prepared_operations()
layer = nn.Conv2d(16, 16, 3)
with torch.inference_mode():
    for width in [*range(64, 500), 64]:
        layer(torch.zeros(1, 16, 32, width))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="torch computes with another library")
def test_layers_are_prepared_once_for_each_of_many_shapes() -> None:
    hits = {}
    for mode in ("keep", "default"):
        command = [sys.executable, "-c", CACHE_PROGRAM, mode]
        environment = {**os.environ, "ONEDNN_VERBOSE": "profile_create"}
        environment.pop("ONEDNN_PRIMITIVE_CACHE_CAPACITY", None)
        said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        creations = [line for line in said.splitlines() if "convolution" in line and "_iw64ow62" in line]
        assert len(creations) == 2
        hits[mode] = ["cache_hit" in line for line in creations]
    assert hits == {"keep": [False, True], "default": [False, False]}


@pytest.fixture
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("num_threads", "calls", "each"), [(1, 1, 1), (2, 2, 1), (12, 8, 1), (64, 8, 8)], indirect=["num_threads"]
)
def test_every_thread_has_a_image_and_no_more_than_eight_are_under_way(num_threads: int, calls: int, each: int) -> None:
    assert num_parallel_calls() == calls
    assert threads_a_call(calls) == each
    assert threads_a_call(1) == num_threads


@pytest.mark.parametrize("num_threads", [4], indirect=True)
def test_calls_share_the_threads_and_give_them_back(num_threads: int) -> None:
    with CallThreads(2) as threads:
        assert {threads.submit(torch.get_num_threads).result() for _ in range(4)} == {2}
    assert torch.get_num_threads() == num_threads
    with CallThreads(1) as threads:
        assert threads.submit(torch.get_num_threads).result() == num_threads
