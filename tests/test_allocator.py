import platform

import pytest

from common.allocator import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc knows mallopt")
def test_glibc_accepts_both_settings():
    assert keep_freed_memory() is True


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert keep_freed_memory() is False
