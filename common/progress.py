"""One progress bar for every long job: rate and time left on a terminal, silence elsewhere."""

from typing import Any

from tqdm import tqdm


def progress(what: str, total: int, unit: str) -> Any:
    """A tqdm bar (use as a context manager, `bar.update(n)`), quiet when stderr is no terminal."""
    return tqdm(total=total, desc=what, unit=f" {unit}", disable=None, dynamic_ncols=True)
