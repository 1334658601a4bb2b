"""How every command begins and ends: in the root folder, and with one line on error or Ctrl-C."""

import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from common.allocator import choose_allocator, is_out_of_memory, out_of_memory
from common.errors import NlaError
from common.interruption import INTERRUPTED, TOLD, ending_at_signals
from common.root import enter_root

OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""Python's default, 700, spends seconds of every command on searching the imported modules."""


def begin() -> None:
    """Go to the root with the right allocator; NlaError outside of the repository."""
    choose_allocator()
    enter_root()


def exit_cleanly(command: Callable[[], None]) -> None:
    """Run a command; a user's mistake and an interruption end in one line on stderr."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 20, 20)
    _choose_messages()
    try:
        with ending_at_signals():
            command()
    except NlaError as error:
        # A remedy may name a DVC stage, and DVC stages do not know the option --profile.
        hint = "dvc repro" in str(error) and _is_elsewhere(sys.argv)
        _end(f"error: {error}{' (DVC goes by the profile in params.yaml)' if hint else ''}")
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        less = "lower rollout.batch_size, evaluation.batch_size or activations.batch_tokens"
        _end(f"error: {out_of_memory(error)}: {less} in the profile")
    except KeyboardInterrupt:
        sys.stderr.write(TOLD)
        sys.exit(INTERRUPTED)
    finally:
        gc.freeze()  # the process ends: saves two seconds of searching for cycles to free


def part_of_many(command: Callable[[], None]) -> Callable[[], None]:
    """What this process does of a command that torchrun, or another `nla`, runs in several."""
    if "RANK" not in os.environ:
        return command
    from common.processes import part_of

    return part_of(command)


def _choose_messages() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("common").setLevel(logging.INFO)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Argument names that older releases of transformers need and newer ones deprecate.
    warnings.filterwarnings("ignore", message=".*(past_key_values|is_gradient_checkpointing).*")


def _is_elsewhere(words: list[str]) -> bool:
    """Whether a command's --profile is not the one in params.yaml."""
    from common.profile import is_active

    parts = [part for word in words for part in word.split("=", 1)]
    after = parts[parts.index("--profile") + 1 :] if "--profile" in parts else []
    return bool(after) and not is_active(after[0])


def _end(line: str) -> NoReturn:
    sys.stderr.write(f"nla: {line}\n")
    sys.exit(1)
