"""Digests of code: what changes a number changes them, and nothing else does."""

import ast
from collections.abc import Callable, Mapping
from pathlib import Path

import grimp
import pytest

from common import code
from common.code import EVALUATIONS, NO_NUMBERS, closure, code_digest, evaluations_of
from common.errors import NlaError

ROOT = Path(__file__).parent.parent
ARM = "common.arms.reconstructor"
FILES = {
    "common.mean": '"""Means."""\n\nfrom common.scale import FACTOR\n\n\ndef mean(values):\n'
    '    """Their sum by their number."""\n    # Never of none.\n    return FACTOR * sum(values)\n',
    "common.scale": "FACTOR = 2\n",
    "common.late": "def read():\n    from common.inner import deep\n\n    return deep\n",
    "common.inner": '"""A package."""\nSIZE = 1\n',
    "common.inner.deep": "import common.scale\n",
    "common.arm": "from common.scale import FACTOR\n\n\nclass Own:\n    def train(self):\n"
    "        return FACTOR\n\n    def test(self):\n        from common.judge import judge\n\n"
    "        return judge\n\n    def test_more(self):\n        return 1\n",
    "common.judge": "from common.ruler import LENGTH\n\n\ndef judge():\n    return LENGTH\n",
    "common.ruler": "LENGTH = 3\n",
    "common.reader": "from common.paths import place\nimport torch\n",
    "common.paths": "from common.scale import FACTOR\n",
}
Write = Callable[..., None]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A small house; called with modules by name it writes them, as if in a new process."""

    def write(files: Mapping[str, str]) -> None:
        for name, text in files.items():
            place = tmp_path.joinpath(*name.split("."))
            is_package = name == "common.inner"
            file = place / "__init__.py" if is_package else place.with_suffix(".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        forget()

    monkeypatch.setattr(code, "ROOT", tmp_path)
    write({**FILES, "common.__init__": ""})
    yield write
    forget()


def forget() -> None:
    for kept in (code.closure, code._module, code._file):
        kept.cache_clear()


def changed(house: Write, module: str, old: str, new: str, asked: str, tests: bool = True) -> bool:
    """Whether a change of a module's text changes the digest of another."""
    before = code_digest(asked, tests=tests)
    assert old in FILES[module]
    house({module: FILES[module].replace(old, new)})
    after = code_digest(asked, tests=tests)
    house({module: FILES[module]})
    return before != after


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Means."""', '"""Something else."""'),
        ('"""Means."""\n', ""),
        ('    """Their sum by their number."""\n', ""),
        ("# Never of none.", "# Of none it is an error.\n    # And so it is."),
        ("    # Never of none.\n", ""),
        ("\n\n\n", "\n\n\n\n\n"),
        ("FACTOR * sum(values)", "(FACTOR\n        * sum(values))"),
    ],
)
def test_comments_docstrings_and_layout_change_nothing(house: Write, old: str, new: str):
    assert not changed(house, "common.mean", old, new, "common.mean")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("common.mean", "FACTOR * sum", "sum"),
        ("common.mean", "values", "numbers"),
        ("common.scale", "2", "3"),
        ("common.scale", "2", "0"),
        ("common.scale", "2", "2.0"),
        ("common.scale", "2", "'2'"),
        ("common.scale", "2", "None"),
        ("common.scale", "2", "False"),
    ],
)
def test_what_is_computed_changes_it(house: Write, module: str, old: str, new: str):
    assert changed(house, module, old, new, "common.mean")


def test_falsy_constants_differ_from_one_another(house: Write):
    digests = set()
    for value in ("0", "0.0", "0j", "''", "b''", "None", "False", "()", "[]", "{}"):
        house({"common.scale": f"FACTOR = {value}\n"})
        digests.add(code_digest("common.mean"))
    assert len(digests) == 10


def test_imports_inside_functions_and_the_packages_around_are_seen(house: Write):
    found = closure("common.late")
    assert found == (
        "common", "common.inner", "common.inner.deep", "common.late", "common.scale",
    )  # fmt: skip
    assert changed(house, "common.inner", "SIZE = 1", "SIZE = 2", "common.late")
    assert "common" in closure("common.scale")


def test_what_only_tests_is_no_part_of_what_is_trained(house: Write):
    trained, tested = closure("common.arm", tests=False), closure("common.arm")
    assert set(tested) - set(trained) == {"common.judge", "common.ruler"}
    for change in [
        ("common.arm", "return 1", "return 2"),
        ("common.arm", "return judge", "return judge()"),
        ("common.judge", "return LENGTH", "return -LENGTH"),
        ("common.ruler", "3", "4"),
    ]:
        assert changed(house, *change, "common.arm"), change
        assert not changed(house, *change, "common.arm", tests=False), change
    for change in [("common.arm", "return FACTOR", "return 0"), ("common.scale", "2", "3")]:
        assert changed(house, *change, "common.arm")
        assert changed(house, *change, "common.arm", tests=False)


def test_a_closure_ends_where_no_number_is_made(house: Write):
    assert closure("common.reader") == ("common", "common.reader")
    assert not changed(house, "common.scale", "2", "3", "common.reader")


def test_a_module_that_does_not_exist_is_one_line(house: Write):
    with pytest.raises(NlaError, match=r"no module 'common\.nosuch'"):
        code_digest("common.nosuch")


def test_what_newer_pythons_add_to_every_tree_is_left_out():
    """3.12 gives functions and classes an empty field `type_params`, 3.13 leaves out others."""
    tree = ast.parse("def f(x):\n    return x\n\n\nclass A:\n    pass\n")
    before = code._digest(tree)
    for node in tree.body:
        node.type_params = []  # pyright: ignore[reportAttributeAccessIssue]
        node._fields = tuple(dict.fromkeys((*node._fields, "type_params")))
    assert code._digest(tree) == before
    for node in ast.walk(tree):
        kept = [name for name in node._fields if getattr(node, name, None) not in (None, [])]
        node._fields = tuple(kept)
    assert code._digest(tree) == before


def test_the_places_where_a_closure_ends_exist_and_say_why():
    for name, why in {**NO_NUMBERS, **dict.fromkeys(EVALUATIONS, "of its own")}.items():
        assert code._file(name), name
        assert why.strip()


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*code.PACKAGES, include_external_packages=False)


def reached(graph: grimp.ImportGraph, module: str) -> set[str]:
    """What grimp sees of a module's closure, cut off at the same ends."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in found or (name != module and code._is_end(name)):
            continue
        found.add(name)
        parents = code._with_parents(name)[:-1]
        waiting += [*graph.find_modules_directly_imported_by(name), *parents]
    return found


@pytest.mark.parametrize(
    "module",
    [
        ARM,
        "common.arms.policy",
        "common.arms.neutral",
        "common.commands.collect",
        "common.report.render",
        "common.stages.av_text",
        "experiments.ar_small.experiment",
        "experiments.baseline.experiment",
    ],
)
def test_a_closure_is_what_an_import_linter_sees(graph: grimp.ImportGraph, module: str):
    assert set(closure(module)) == reached(graph, module)


@pytest.mark.parametrize("module", [ARM, "common.arms.policy", "common.arms.verbalizer"])
def test_no_arm_is_trained_with_the_code_that_tests_it(module: str):
    trained, tested = set(closure(module, tests=False)), set(closure(module))
    assert {"common.evaluation.test_set", "common.evaluation.roundtrip"} <= tested - trained
    assert "common.training.trainer" in trained
    assert not [name for name in tested if name.startswith(("common.report", "common.commands"))]


def test_an_experiment_names_the_evaluations_that_it_imports():
    assert evaluations_of("experiments.ar_small.experiment") == ["common.arms.floors"]
    assert evaluations_of("experiments.baseline.experiment") == ["common.arms.neutral"]
    for name in EVALUATIONS:
        assert name not in closure("experiments.baseline.experiment")
        assert name in closure(name), "what is asked for is always in"
