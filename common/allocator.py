"""Memory: the C library keeps what is freed for the next tensor, and finished runs are freed."""

import contextlib
import ctypes
import gc

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Names of glibc's `mallopt`: from what size on a block is mapped, and when the heap shrinks."""
LARGEST_BLOCK, LARGEST_HEAP = 32 * 2**20, 2**31 - 1
"""The most that glibc allows for each."""


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
