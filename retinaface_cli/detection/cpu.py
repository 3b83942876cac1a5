"""Memory and threads on the CPU.

Two images on one thread each are done sooner than one after the other on two threads, which wait for each other after
every layer, and for those that read and write.
"""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor

import torch

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
"""Numbers of the parameters in glibc's malloc.h."""

_MAX_PARALLEL = 8
"""Each image under way keeps its features in memory."""


def keep_freed_memory() -> bool:
    """Makes the process keep freed memory for its next tensors instead of handing it back to the system.

    By default glibc takes every block over 32 MB fresh from the kernel, which fills it with zeros page by page, and
    gives it back when the tensor dies. A training step frees and takes some hundred such blocks; that is up to a third
    of its time. The price is that the process stays as large as it ever was. To return what lies free every 32
    images made `infer` with torch a tenth smaller, and up to a tenth slower.

    Returns:
        Whether it is so from now on; False where the C library is another.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))


def keep_prepared_operations() -> None:
    """Makes oneDNN keep the operations that it has prepared, for 16,384 layers and input shapes instead of 1,024.

    A network of 60 layers that sees images of twenty shapes and crops of ten needs more than 1,024, and prepares
    them again and again; that is an eighth of the time of `infer`. To be called before the process computes for the
    first time; ONEDNN_PRIMITIVE_CACHE_CAPACITY in the environment goes before.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")


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
