"""How the C library deals with the memory of large tensors on the CPU."""

from __future__ import annotations

import ctypes

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
