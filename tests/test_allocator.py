import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from common import allocator
from common.allocator import (
    choose_allocator,
    keep_freed_memory,
    start_again_with_tcmalloc,
    tcmalloc,
)

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only there it is exchanged")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc knows mallopt")
def test_glibc_accepts_both_settings():
    assert keep_freed_memory() is True


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert keep_freed_memory() is False


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple]:
    """Calls of `execve`, with a file that stands for tcmalloc and nothing preloaded."""
    library = tmp_path / "libtcmalloc_minimal.so.4"
    library.touch()
    calls: list[tuple] = []
    monkeypatch.setattr(allocator, "tcmalloc", lambda: library)
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    monkeypatch.delenv("NLA_ALLOCATOR", raising=False)
    return calls


@LINUX
def test_the_same_command_starts_again_with_tcmalloc(
    started: list[tuple], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LD_PRELOAD", "/lib/other.so")
    start_again_with_tcmalloc()
    ((program, words, environment),) = started
    assert program == words[0] == sys.executable
    assert words[1:] == sys.orig_argv[1:]
    first, second = environment["LD_PRELOAD"].split()
    assert Path(first).name == "libtcmalloc_minimal.so.4"
    assert second == "/lib/other.so"
    assert environment["PATH"] == os.environ["PATH"]


@LINUX
def test_memory_settings_give_way_to_the_users(
    started: list[tuple], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "environ", {"TCMALLOC_RELEASE_RATE": "5"})
    choose_allocator()
    ((_, _, environment),) = started
    assert environment["THP_MEM_ALLOC_ENABLE"] == "1"
    assert environment["TCMALLOC_RELEASE_RATE"] == "5"
    assert int(environment["TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD"]) > 2**40


@LINUX
@pytest.mark.parametrize(
    ("name", "value"),
    [("LD_PRELOAD", "/usr/lib/libjemalloc.so.2"), ("NLA_ALLOCATOR", "libc")],
)
def test_a_choice_of_the_user_is_kept(
    started: list[tuple], monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(name, value)
    start_again_with_tcmalloc()
    assert not started


@LINUX
def test_without_tcmalloc_all_stays_as_it_is(started: list[tuple], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(allocator, "tcmalloc", lambda: None)
    start_again_with_tcmalloc()
    assert not started


@LINUX
@pytest.mark.skipif(tcmalloc() is None, reason="tcmalloc is not installed")
def test_the_process_really_has_tcmalloc():
    code = (
        "from pathlib import Path; from common.allocator import start_again_with_tcmalloc;"
        "start_again_with_tcmalloc(); print('libtcmalloc' in Path('/proc/self/maps').read_text())"
    )
    plain = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "NLA_ALLOCATOR")}
    for choice, expected in (({}, "True"), ({"NLA_ALLOCATOR": "libc"}, "False")):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=plain | choice, capture_output=True, text=True)
        assert (done.stdout.strip(), done.stderr) == (expected, "")
