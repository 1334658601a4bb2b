"""Where a number comes from: commit and code."""

import hashlib
import subprocess
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parent.parent


@lru_cache
def code_digest(*places: str) -> str:
    """12 hex digits of Python files and folders, so that results of older code are not reused.

    Computed once per process: an edit made meanwhile is not in the code that runs.
    """
    found = [ROOT / place for place in places]
    files = sorted(
        file for place in found for file in ([place] if place.is_file() else place.rglob("*.py"))
    )
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def git_commit() -> str:
    """Short commit, with `+` when the tree has changes; `unknown` outside a checkout."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
