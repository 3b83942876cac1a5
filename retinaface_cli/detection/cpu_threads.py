"""How the CPU's threads are dealt out to images that go through the network at the same time.

Two images on one thread each are done sooner than one after the other on two threads, which wait for each other after
every layer, and for those that read and write.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch

_MAX_PARALLEL = 8
"""Each image under way keeps its features in memory."""


def num_parallel_calls() -> int:
    """How many images should be under way at once."""
    return min(torch.get_num_threads(), _MAX_PARALLEL)


def threads_a_call(num_parallel: int) -> int:
    """How many threads each of several calls should use."""
    return max(1, torch.get_num_threads() // num_parallel)


class CallThreads(ThreadPoolExecutor):
    """Threads that call a network beside one another, torch's own threads dealt out to them; to be shut down."""

    def __init__(self, num_parallel: int) -> None:
        self._num_torch_threads = torch.get_num_threads()
        super().__init__(
            num_parallel,
            thread_name_prefix="detect",
            initializer=torch.set_num_threads,
            initargs=(threads_a_call(num_parallel),),
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the threads; threads that start later have all of torch's threads again."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        torch.set_num_threads(self._num_torch_threads)
