"""A decision rule as data: the question to the results, and what counts as an answer.

`experiments/<name>/rule.py` holds `RULE`; the wording in the README, the verdict and the entry in
the index are all made from it. Imports nothing heavy: judging imports its modules when it runs.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from common.params import load_params
from common.report.clauses import Clause
from common.report.section import Section
from common.report.verdict import Verdict
from common.report.wording import rule_words


@dataclass(frozen=True)
class Rule:
    """What an experiment decides, and how; it is written before its runs."""

    question: str
    """The question; it ends with a question mark."""
    clauses: tuple[Clause, ...]
    """The clauses, in the order of the README; each may require earlier ones."""
    written: str
    """When the rule was written and what was known then, in a sentence or two."""
    remark: str = ""
    """Text of the README after the clauses."""
    items: str = "test activations"
    """The items by which differences are paired, in the plural."""
    cluster: str = "document"
    """What the bootstrap draws: items of one cluster are not independent."""
    collapse_counts: bool = True
    """Whether a run that was stopped early counts like any other. If not, nothing is shown for its
    arm, nor for any arm if it is a run of control."""
    key: str = ""
    """The clause whose figure the index shows; default: the first."""

    def __post_init__(self) -> None:
        """Check that the rule can be applied; a failure is a bug."""
        every = [clause.name for clause in self.clauses]
        assert len({*every}) == len(every), f"two of {every} have one name"
        names: list[str] = []
        for clause in self.clauses:
            needed = (*clause.requires, *clause.given)
            unknown = [name for name in needed if name not in names]
            assert not unknown, f"{clause.name} requires {unknown}, which nothing before it judges"
            if not clause.is_descriptive:
                names.append(clause.name)
        assert self.key_clause in names, f"no clause called {self.key_clause} is judged"

    @property
    def key_clause(self) -> str:
        """The name of the clause that the index shows."""
        return self.key or self.clauses[0].name

    def words(self) -> str:
        """The rule in Markdown, for the README."""
        return rule_words(self)

    def judge(self, results: Any) -> Verdict:
        """Apply the rule to a `common.report.results.Results`."""
        from common.report.decisions import judge

        return judge(self, results)


def load_rule(name: str) -> Rule:
    """The `RULE` of `experiments/<name>/rule.py`; NlaError for an unknown experiment."""
    load_params(name)
    return importlib.import_module(f"experiments.{name}.rule").RULE


def special_sections(name: str, results: Any) -> list[Section]:
    """Sections of one experiment's report: `sections(results)` of its findings.py, if any."""
    place = f"experiments.{name}.findings"
    if importlib.util.find_spec(place) is None:
        return []
    return importlib.import_module(place).sections(results)
