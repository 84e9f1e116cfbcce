"""Settings of the C library: it keeps the memory that a training step frees."""

from __future__ import annotations

import ctypes
import functools
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h


@functools.cache
def keep_large_blocks():
    """Tell glibc to reuse large blocks instead of returning them to the system.

    Every training step allocates the same tensors of several megabytes. By default glibc
    returns them to the system at the end of the step, and the system clears each page again
    when it is next touched. Does nothing where the C library is another one. No result depends
    on it.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    # glibc before 2.35 refuses more than 32 MiB
    if not libc.mallopt(_MMAP_THRESHOLD, 2**30):
        libc.mallopt(_MMAP_THRESHOLD, 2**25)
    libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
