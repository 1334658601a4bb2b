"""A run's config.yaml as MLflow shows it: settings are params, digests and provenance are tags."""

import json
from collections.abc import Mapping
from typing import Any

from common.manifest import digest_of
from common.runs import RunFolder
from common.tracking.identity import identity_of
from common.tracking.note import Note

NO_PARAMS = ("data", "study", "params")
"""Parts of what a run is trained with that are tags, or stand in another place."""
LONGEST_PARAM, LONGEST_TAG, LONGEST_DIGEST = 6000, 8000, 36
"""Characters that MLflow allows."""


def params_of(config: Mapping[str, Any]) -> dict[str, str]:
    """`tuned.learning_rate`, `arm.blocks`, `evaluation.prefix_lengths`, ..., as YAML has them.

    What a trial drew stands in place of the profile's setting. A setting of the test alone that
    belongs to no section is `tested.samples`, and so is one that the training had otherwise.
    """
    trained, tested = config.get("trained") or {}, config.get("tested") or {}
    kept = {n: v for n, v in trained.items() if n not in NO_PARAMS and v is not None}
    found = flat(kept) | flat({"tuned": trained.get("params") or {}})
    for name, value in flat(tested).items():
        plain = "." in name and found.get(name, value) == value
        found[name if plain else f"tested.{name}"] = value
    return {name: _words(value)[:LONGEST_PARAM] for name, value in found.items()}


def tags_of(folder: RunFolder, note: Note) -> dict[str, str]:
    """All tags of a run but those that only its end tells."""
    config = folder.config
    trained, told = config.get("trained") or {}, identity_of(folder)
    tags = {
        **told.tags,
        **{f"data.{name}": digest for name, digest in data_digests(folder).items()},
        **{f"code.{name}": digest for name, digest in (config.get("code") or {}).items()},
        "study": trained.get("study"),
        "adopted": "; ".join(f"{one['reason']} ({one['commit']})" for one in folder.adopted),
        "nla.folder": folder_name(folder),
        "nla.settings": settings_digest(config),
        "nla.attempt": note.attempt,
        "mlflow.source.name": config.get("remedy"),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": note.commit,
    }
    return {name: str(value)[:LONGEST_TAG] for name, value in tags.items() if value}


def end_tags(folder: RunFolder) -> dict[str, str]:
    """What the end of a run tells in words: the device, why it was stopped early, ..."""
    facts = flat(folder.summary) if folder.summary_file.exists() else {}
    words = {
        name: value[:LONGEST_TAG]
        for name, value in facts.items()
        if isinstance(value, str) and name != "digest" and not name.startswith("files.")
    }
    return words | {"nla.digest": whole_digest(folder)}


def whole_digest(folder: RunFolder) -> str:
    """Of settings, data, code and all files: equal for two imports of the same run."""
    summary = folder.summary if folder.summary_file.exists() else None
    return digest_of([folder.config, summary])


def settings_digest(config: Mapping[str, Any]) -> str:
    """Of what the runs of an arm have in common: all settings, but no seed and no data."""
    trained = {n: v for n, v in (config.get("trained") or {}).items() if n not in ("seed", "data")}
    return digest_of([trained, config.get("tested")])


def folder_name(folder: RunFolder) -> str:
    """`<profile>/<experiment>/<arm>/<seed>`."""
    return "/".join(folder.identity)


def data_digests(folder: RunFolder) -> dict[str, str]:
    """Name → digest of the artefacts and runs that a run is made from."""
    data = (folder.config.get("trained") or {}).get("data") or {}
    return {name: str(digest)[:LONGEST_DIGEST] for name, digest in data.items()}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"ar": {"rank": 1}} → {"ar.rank": 1}."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        result |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return result


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
