"""Memory: freed memory is kept for the next tensor, and finished runs are freed."""

import contextlib
import ctypes
import gc
import os
import sys
from pathlib import Path

TCMALLOC = ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4")
"""Library files of the allocator of gperftools; Debian's package is `libtcmalloc-minimal4`."""
PRELOAD = "LD_PRELOAD"
SETTINGS = {
    "TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD": str(2**60),
    "TCMALLOC_RELEASE_RATE": "0",
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""tcmalloc prints no warning for tensors above a gigabyte and returns no memory to the system;
torch asks for huge pages for tensors of 2 MiB and more, which saves page faults and TLB misses."""
CHOICE = "NLA_ALLOCATOR"
"""Environment variable: `libc` keeps the C library's allocator."""
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Options of glibc's `mallopt`: the size from which a block is mapped, when the heap shrinks."""
LARGEST_BLOCK, LARGEST_HEAP = 32 * 2**20, 2**31 - 1
"""The largest value that glibc allows for each."""


def choose_allocator() -> None:
    """Use tcmalloc if it is installed, else glibc's allocator with our settings; called first."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    start_again_with_tcmalloc()
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Tell glibc to reuse memory; False where there is another C library.

    By default a freed tensor of some megabytes goes back to the system, and the next one is made of
    pages that the system must clear first: on a CPU a good part of a training step.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        option = ctypes.CDLL(None).mallopt
        set_block = option(MMAP_THRESHOLD, LARGEST_BLOCK)
        return bool(set_block and option(TRIM_THRESHOLD, LARGEST_HEAP))
    return False


def tcmalloc() -> Path | None:
    """The library file of tcmalloc, if it is installed where this Python would find it."""
    system = Path("/usr")
    folders = [Path(sys.prefix), Path(sys.base_prefix), system, system / "local"]
    places = [folder / lib for folder in folders for lib in ("lib", "lib64")]
    places.append(system / "lib" / f"{os.uname().machine}-linux-gnu")
    found = (place / name for place in places for name in TCMALLOC)
    return next((file for file in found if file.exists()), None)


def other_allocator() -> str | None:
    """The file that this process was started with in place of the C library's allocator."""
    loaded = os.environ.get(PRELOAD, "").replace(":", " ").split()
    return next((file for file in loaded if "malloc" in Path(file).name), None)


def start_again_with_tcmalloc() -> None:
    """Restart this process with tcmalloc, where it is installed; called before heavy imports.

    glibc looks for a block of the right size in lists, and in training there are thousands of free
    ones, of ever new sizes: the search took a seventh of a step at first, a third 20 steps later.
    An allocator can only be exchanged at the start, so the process replaces itself (same process
    id).
    """
    if sys.platform != "linux" or other_allocator() or os.environ.get(CHOICE) == "libc":
        return
    if (library := tcmalloc()) is None:
        return
    preload = " ".join([str(library), *os.environ.get(PRELOAD, "").split()])
    environment = {**os.environ, PRELOAD: preload}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def free_finished_runs() -> None:
    """Free the models and optimiser states of runs that ended in this process.

    A module, its trainer and its optimiser refer to each other, so that they live until Python
    looks for reference cycles, which `nla` makes rare. Whatever is alive after this call is never
    searched again, which makes the next call cheap: call it before a model is built.
    """
    gc.collect()
    gc.freeze()


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: by class on a GPU, by message on a CPU; does not import torch."""
    named = type(error).__name__ in ("OutOfMemoryError", "MemoryError")
    return named or "can't allocate memory" in str(error)


def out_of_memory(error: Exception) -> str:
    """The message for the user: one line."""
    return f"out of memory ({(str(error).splitlines() or ['no detail'])[0][:120]})"
