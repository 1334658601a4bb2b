"""Memory: what is freed is kept for the next tensor, and finished runs are freed."""

import contextlib
import ctypes
import gc
import os
import sys
from pathlib import Path

TCMALLOC = ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4")
"""Files of the allocator of gperftools; Debian's package is `libtcmalloc-minimal4`."""
PRELOAD = "LD_PRELOAD"
SETTINGS = {
    "TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD": str(2**60),
    "TCMALLOC_RELEASE_RATE": "0",
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""tcmalloc reports no tensor above a gigabyte and gives nothing back to the system; torch asks for
huge pages for tensors of 2 MiB and more, which saves faults and misses of the page table."""
CHOICE = "NLA_ALLOCATOR"
"""Environment variable: `libc` keeps the C library's allocator."""
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Names of glibc's `mallopt`: from what size on a block is mapped, and when the heap shrinks."""
LARGEST_BLOCK, LARGEST_HEAP = 32 * 2**20, 2**31 - 1
"""The most that glibc allows for each."""


def choose_allocator() -> None:
    """At the start of a command: tcmalloc if it is there, else glibc's with settings of ours."""
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
    """Its file, if it is installed where this Python would find it."""
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
    """Put tcmalloc in place of glibc's allocator, where it is installed: before anything heavy.

    glibc looks for a block of the right size in lists, and in training there are thousands of free
    ones, of ever new sizes: the search took a seventh of a step at first, a third 20 steps later.
    An allocator can only be exchanged at the start, so the process begins anew, as the same one.
    """
    if sys.platform != "linux" or other_allocator() or os.environ.get(CHOICE) == "libc":
        return
    if (library := tcmalloc()) is None:
        return
    preload = " ".join([str(library), *os.environ.get(PRELOAD, "").split()])
    environment = {**os.environ, PRELOAD: preload}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def free_finished_runs() -> None:
    """Give back the models and optimiser states of runs that ended in this process.

    A module, its trainer and its optimiser hold each other, so that they live until Python looks
    for cycles; `nla` lets it do so seldom. What lives now is taken to stay and is not walked again,
    which makes the next call cheap: call it before a model is built.
    """
    gc.collect()
    gc.freeze()


def is_out_of_memory(error: Exception) -> bool:
    """On a GPU there is a class for it, on a CPU a sentence; neither costs an import of torch."""
    named = type(error).__name__ in ("OutOfMemoryError", "MemoryError")
    return named or "can't allocate memory" in str(error)


def out_of_memory(error: Exception) -> str:
    """What to say of it: one line."""
    return f"out of memory ({(str(error).splitlines() or ['no detail'])[0][:120]})"
