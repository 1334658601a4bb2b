"""A decision rule as data: what is asked of the results, and what counts as an answer.

`experiments/<name>/rule.py` holds `RULE`; the wording in the README, the verdict and the entry in
the index are all made from it. Light: what judges is imported when it judges.
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
    """What an experiment decides, and how; written before its runs."""

    question: str
    """Ends with a question mark."""
    clauses: tuple[Clause, ...]
    """In the order of the README; each may require earlier ones."""
    written: str
    """When it was written and what was known then, a sentence or two."""
    remark: str = ""
    """What the README says after the clauses."""
    items: str = "test activations"
    """What differences are paired by, in the plural."""
    cluster: str = "document"
    """What the bootstrap draws: items of one cluster are not independent."""
    collapse_counts: bool = True
    """Whether a run that was stopped early counts as it is; else nothing is shown for its arm, nor
    for any arm where it is one of control."""
    key: str = ""
    """The clause whose figure stands in the index; default: the first."""

    def __post_init__(self) -> None:
        """A rule that cannot be applied is our mistake."""
        every = [clause.name for clause in self.clauses]
        assert len({*every}) == len(every), f"two of {every} have one name"
        names: list[str] = []
        for clause in self.clauses:
            unknown = [name for name in clause.requires if name not in names]
            assert not unknown, f"{clause.name} requires {unknown}, which nothing before it judges"
            if not clause.is_descriptive:
                names.append(clause.name)
        assert self.key_clause in names, f"no clause called {self.key_clause} is judged"

    @property
    def key_clause(self) -> str:
        """The name of the clause that stands for the rule."""
        return self.key or self.clauses[0].name

    def words(self) -> str:
        """The rule in Markdown, as the README has it."""
        return rule_words(self)

    def judge(self, results: Any) -> Verdict:
        """Apply it to a `common.report.results.Results`."""
        from common.report.decisions import judge

        return judge(self, results)


def load_rule(name: str) -> Rule:
    """The `RULE` of `experiments/<name>/rule.py`; NlaError for an unknown experiment."""
    load_params(name)
    return importlib.import_module(f"experiments.{name}.rule").RULE


def special_sections(name: str, results: Any) -> list[Section]:
    """What only this experiment's report shows: `sections(results)` of its findings.py, if any."""
    place = f"experiments.{name}.findings"
    if importlib.util.find_spec(place) is None:
        return []
    return importlib.import_module(place).sections(results)
