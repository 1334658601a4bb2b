import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from common import packages
from common.errors import NlaError
from common.packages import is_package, package_path, path_digest, source_path
from common.paths import DOWNLOADS

NAME = "nla_sample_weights"
REQUIREMENT = f"{NAME}==1.0"
SOURCE = f"package:{REQUIREMENT}/{NAME}/weights.bin"
WEIGHTS = bytes(range(256)) * 40
WHEELS = DOWNLOADS / "wheels" / REQUIREMENT


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and a pip whose only index answers nothing."""
    (tmp_path / "root").mkdir()
    monkeypatch.chdir(tmp_path / "root")
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_RETRIES": "0",
        "PIP_TIMEOUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def make_wheel(folder: Path) -> Path:
    """A wheel of one file of weights, in the place where pip would leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{NAME}-1.0.dist-info"
    wheel = folder / f"{NAME}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{NAME}/__init__.py", "raise RuntimeError('imported')")
        archive.writestr(f"{NAME}/weights.bin", WEIGHTS)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def refused(match: str, source: str = SOURCE, sha256: str | None = None) -> str:
    with pytest.raises(NlaError, match=match) as caught:
        package_path(source, sha256)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_in_parts_is_joined_and_its_digest_is_that_of_the_whole():
    make_wheel(WHEELS)
    source = f"{SOURCE} + package:{REQUIREMENT}/{NAME}/__init__.py"
    whole = WEIGHTS + b"raise RuntimeError('imported')"
    joined = package_path(source, hashlib.sha256(whole).hexdigest())
    assert joined.name == "weights"
    assert joined.read_bytes() == whole
    assert package_path(source) == joined
    told = refused("checksum mismatch", source, "0" * 64)
    assert str(joined) in told
    assert str(WHEELS) in told


def test_a_package_source_is_told_by_its_prefix():
    assert is_package(SOURCE)
    assert not is_package("hub/name")
    assert not is_package("./folder")


def test_a_checksum_that_nothing_would_ask_is_refused():
    assert source_path("hub/name") == "hub/name"
    for source in ("hub/name", "./folder", "tiny", "target"):
        with pytest.raises(NlaError, match=r"sha256 of what is no package.*leave the digest out"):
            source_path(source, "0" * 64)


def test_a_wheel_is_downloaded_once_and_read_as_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_wheel(tmp_path / "links")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    path = package_path(SOURCE, hashlib.sha256(WEIGHTS).hexdigest())
    assert path == DOWNLOADS / REQUIREMENT / NAME / "weights.bin"
    assert path.read_bytes() == WEIGHTS
    monkeypatch.setattr(packages, "_download", lambda _: pytest.fail("downloaded again"))
    assert package_path(SOURCE) == path
    assert package_path(f"package:{REQUIREMENT}/{NAME}") == path.parent


def test_without_network_the_remedy_is_said_and_works():
    message = refused("could not download")
    assert str(WHEELS) in message
    assert "check the network" in message
    assert not (DOWNLOADS / REQUIREMENT).exists()
    make_wheel(WHEELS)
    assert package_path(SOURCE).read_bytes() == WEIGHTS


def test_a_download_that_left_no_wheel_is_refused(monkeypatch: pytest.MonkeyPatch):
    done = subprocess.CompletedProcess([], returncode=0, stdout="", stderr="")
    monkeypatch.setattr(packages.subprocess, "run", lambda *_, **__: done)
    refused(r"could not download .* \(no wheel found\)")


def test_a_wrong_checksum_is_refused_and_the_remedy_works():
    wheel = make_wheel(WHEELS)
    message = refused("checksum mismatch", sha256="0" * 64)
    assert hashlib.sha256(WEIGHTS).hexdigest() in message
    assert str(DOWNLOADS / REQUIREMENT) in message
    assert str(wheel.parent) in message


@pytest.mark.parametrize("damage", ["truncated", "wrong sum", "no deflate", "empty"])
def test_a_damaged_wheel_is_deleted_and_the_next_run_starts_afresh(damage: str):
    wheel = make_wheel(WHEELS)
    content = wheel.read_bytes()
    start = content.index(b"weights.bin") + len("weights.bin")
    damaged = {
        "truncated": content[:-60],
        "wrong sum": content[: start + 4] + bytes(24) + content[start + 28 :],
        "no deflate": content[:start] + b"\xff" * 4 + content[start + 4 :],
        "empty": b"",
    }
    wheel.write_bytes(damaged[damage])
    refused("truncated or corrupt wheel")
    assert not wheel.exists()
    assert not (DOWNLOADS / REQUIREMENT).exists()
    make_wheel(WHEELS)
    assert package_path(SOURCE).read_bytes() == WEIGHTS


def test_a_wrong_path_inside_the_wheel_is_named():
    make_wheel(WHEELS)
    wrong = f"package:{REQUIREMENT}/{NAME}/other.bin"
    for _ in range(2):
        assert "correct the path" in refused("holds no 'nla_sample_weights/other.bin'", wrong)


def test_the_digest_of_a_file_is_its_sha256_and_of_a_folder_that_of_the_list(tmp_path: Path):
    (tmp_path / "model" / "pooling").mkdir(parents=True)
    for name in ("weights", "pooling/config"):
        (tmp_path / "model" / name).write_bytes(WEIGHTS)
    one = hashlib.sha256(WEIGHTS).hexdigest()
    assert path_digest(tmp_path / "model" / "weights") == one
    lines = f"{one}  pooling/config\n{one}  weights\n"
    assert path_digest(tmp_path / "model") == hashlib.sha256(lines.encode()).hexdigest()


def test_a_folder_with_other_files_than_the_checksum_is_of_is_refused():
    """As of a sentence encoder, which is several files."""
    make_wheel(WHEELS)
    source = f"package:{REQUIREMENT}/{NAME}"
    folder = package_path(source)
    digest = path_digest(folder)
    assert package_path(source, digest) == folder
    (folder / "weights.bin").write_bytes(b"of another model")
    assert str(DOWNLOADS / REQUIREMENT) in refused("checksum mismatch", source, digest)
