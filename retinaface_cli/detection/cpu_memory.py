"""What the libraries below torch keep in memory on the CPU, for the sake of speed."""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
"""Numbers of the parameters in glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """Makes the process keep freed memory for its next tensors instead of handing it back to the system.

    By default glibc takes every block over 32 MB fresh from the kernel, which fills it with zeros page by page, and
    gives it back when the tensor dies. A training step frees and takes some hundred such blocks; that is up to a third
    of its time. The price is that the process stays as large as it ever was.

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
