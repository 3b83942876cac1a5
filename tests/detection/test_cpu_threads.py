"""How torch's threads are dealt out to the images under way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from retinaface_cli.detection.cpu_threads import CallThreads, num_parallel_calls, threads_a_call


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
