"""Which code can change a result: digests of import closures, blind to comments and docstrings.

A module's closure is itself and all that it imports, at its top or inside a function, and the
packages around these. Imports by name (`import_module`), templates and YAML files are not seen:
whoever reads such a file names it separately.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from common.errors import NlaError

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("common", "ar_variants", "decomposition", "experiments")
NO_NUMBERS = {
    "common.config": "settings: each run keeps the values that it was made with",
    "common.config_base": "settings",
    "common.config_file": "settings",
    "common.params": "settings",
    "common.profile": "settings",
    "common.experiment": "says which arms there are",
    "common.lifecycle": "decides when a run is made, not what it computes",
    "common.tuning": "chooses settings, which each run keeps",
    "common.tracking": "copies to MLflow what a run has written",
    "common.runs": "files: where they lie and whether they are whole",
    "common.manifest": "files",
    "common.files": "files",
    "common.json_lines": "files",
    "common.paths": "files",
    "common.packages": "downloads, whose content is asserted",
    "common.code": "this",
    "common.provenance": "names a commit",
    "common.errors": "messages",
    "common.interruption": "messages",
    "common.allocator": "memory",
    "common.progress": "bars",
}
"""Modules (with all below them) at which a closure ends, and why no number depends on them."""
EVALUATIONS = (
    "common.arms.floors",
    "common.arms.neutral",
    "ar_variants.flowchart.told",
    "ar_variants.input_aware.axis",
)
"""Evaluations over finished runs, which do not depend on them; they are stages of their own."""
TEST = re.compile("test(_.*)?")
"""Methods of an arm that nothing in its training calls."""


class Module(NamedTuple):
    """What a digest needs to know of a file, with and without the methods that only test."""

    digest: str
    imports: frozenset[str]
    digest_untested: str
    imports_untested: frozenset[str]


def code_digest(*modules: str, tests: bool = True) -> str:
    """12 hex digits of the import closure of some modules.

    Args:
        modules: dotted names, such as `common.stages.corpus`.
        tests: False leaves out what only methods called `test` or `test_...` contain and import:
            the digest of what a run is trained with.
    """
    digest = hashlib.sha256()
    for name in closure(*modules, tests=tests):
        found = _module(name)
        digest.update(f"{name} {found.digest if tests else found.digest_untested}\n".encode())
    return digest.hexdigest()[:12]


@cache
def closure(*modules: str, tests: bool = True) -> tuple[str, ...]:
    """Names of all modules that some modules depend on, these included, sorted."""
    seen: set[str] = set()
    waiting = [part for name in modules for part in _with_parents(name)]
    while waiting:
        name = waiting.pop()
        if name in seen or (name not in modules and _is_end(name)):
            continue
        seen.add(name)
        found = _module(name)
        waiting += found.imports if tests else found.imports_untested
    return tuple(sorted(seen))


def evaluations_of(module: str) -> list[str]:
    """The evaluations that an experiment's module uses: those that it imports."""
    return sorted(set(EVALUATIONS) & _module(module).imports)


@cache
def _module(name: str) -> Module:
    """A module, read once per process: an edit made meanwhile is not in the code that runs."""
    if (file := _file(name)) is None:
        raise NlaError(f"no module {name!r}", where=ROOT, remedy="correct the name")
    tree = _Stripped().visit(ast.parse(file.read_bytes()))
    everything = _digest(tree), frozenset(_imports(tree))
    untested = _Untested().visit(tree)
    return Module(*everything, _digest(untested), frozenset(_imports(untested)))


class _Stripped(ast.NodeTransformer):
    """Drops docstrings: strings that stand alone."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


class _Untested(ast.NodeTransformer):
    """Drops the methods that only test."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        node.body = [
            part
            for part in node.body
            if not (isinstance(part, ast.FunctionDef) and TEST.fullmatch(part.name))
        ]
        return node


def _digest(tree: ast.AST) -> str:
    return hashlib.sha256(repr(_plain(tree)).encode()).hexdigest()


def _plain(node: object) -> object:
    """A syntax tree as tuples; what is empty is left out, as newer Pythons add empty fields."""
    if isinstance(node, ast.AST):
        fields = ((name, _plain(value)) for name, value in ast.iter_fields(node) if value)
        falsy = [node.value] if isinstance(node, ast.Constant) and not node.value else []
        return type(node).__name__, *map(repr, falsy), *fields
    return [_plain(one) for one in node] if isinstance(node, list) else repr(node)


def _imports(tree: ast.AST) -> Iterator[str]:
    """The modules of this repository that are imported, and the packages that they lie in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            named = [node.module, *(name for name in inside if _file(name))]
        else:
            continue
        for name in named:
            if name.partition(".")[0] in PACKAGES:
                yield from _with_parents(name)


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


@cache
def _file(name: str) -> Path | None:
    place = ROOT.joinpath(*name.split("."))
    if place.with_suffix(".py").is_file():
        return place.with_suffix(".py")
    package = place / "__init__.py"
    return package if package.is_file() else None


def _is_end(name: str) -> bool:
    ends = (*NO_NUMBERS, *EVALUATIONS)
    return any(name == end or name.startswith(f"{end}.") for end in ends)
