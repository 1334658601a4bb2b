"""The files of the pipeline, with a digest of what each was made from, to notice old ones."""

from pathlib import Path

import yaml

from common.errors import NlaError
from common.files import replace_text
from common.manifest import digest_of
from common.paths import EXPERIMENTS

ROOT_FILE = Path("dvc.yaml")
HEADER = "# Written by `nla pipeline` from {digest}: edit params.yaml or code, not this.\n"


def check_files() -> None:
    """NlaError when experiments or arms were added or removed since the files were written."""
    for file, digest in sources().items():
        first = file.read_text().partition("\n")[0] + "\n" if file.exists() else ""
        if first != HEADER.format(digest=digest):
            remedy = "run `nla pipeline`, then the same command again"
            raise NlaError("the pipeline is out of date", where=file, remedy=remedy)


def sources() -> dict[Path, str]:
    """{file: digest of what it is written from}: names of experiments; arms and trunks of each."""
    params = {file.parent.name: file for file in EXPERIMENTS.glob("*/params.yaml")}
    found = {ROOT_FILE: digest_of(sorted(params))}
    for name, file in sorted(params.items()):
        values = yaml.safe_load(file.read_text()) or {}
        found[EXPERIMENTS / name / "dvc.yaml"] = digest_of(
            [values.get("arms"), values.get("trunks")]
        )
    return found


def write_file(file: Path, stages: dict[str, object], variables: list[str]) -> bool:
    """Write one file; returns whether that changes it."""
    text = HEADER.format(digest=sources()[file])
    content = {"vars": variables, "stages": stages}
    text += yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)
    if file.exists() and file.read_text() == text:
        return False
    replace_text(file, text)
    return True
