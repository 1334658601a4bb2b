"""Arms in which nothing is trained: a given writer explains, and the pair's AR reads."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import polars as pl

from common.arms.arm import Arm, Need, Outcome
from common.arms.needs import ar_need
from common.runs import RunFolder
from common.schema import AV, EXPLANATION
from common.trunk.artefacts import Trunk


@runtime_checkable
class Writer(Protocol):
    """What explains: a prompted language model, the text of a nearest neighbour, next tokens."""

    def write(self, items: pl.DataFrame, samples: int, seed: int) -> list[str]:
        """`samples` explanations of each activation, those of one activation together.

        Args:
            items: key, doc_id, split, text and token_ids of each activation.
            samples: how many explanations of each activation.
            seed: of whatever is drawn at random.
        """
        ...


class WriterArm(Arm):
    """Tests the explanations of a writer, which `writer` names."""

    data = ("target", "corpus", "activations", "explanations", "av_text")
    tested_data = ("last_tokens",)
    has_samples = True

    def writer(self, trunk: Trunk) -> Writer:
        """The writer of the explanations."""
        raise NotImplementedError

    def needs(self, seed: int) -> Sequence[Need]:
        """Also the AR that reads the explanations."""
        return [*super().needs(seed), ar_need(self.trunk(seed))]

    def load(self, run: RunFolder) -> Writer:
        """The writer: there is no checkpoint."""
        return self.writer(self.trunk(run.seed))

    def test(self, trained: Writer, seed: int) -> Outcome:
        """Let the writer explain the test activations, and the pair's AR read the explanations."""
        from common.arms.reconstructor import load_ar
        from common.evaluation.spoken import Spoken, explained
        from common.rollout.reading import reader_of

        tests = self.test_set(seed)
        items = explained(tests)
        written = items.with_columns(pl.Series(EXPLANATION, trained.write(items, 1, seed)))
        texts, dev = tests.written_in(written)
        read = reader_of(load_ar(tests.trunk), self.profile)
        spoken = Spoken(tests, None, read, texts, seed, written)
        rows = tests.judge.rows(read, self.test_conditions(tests, texts), AV, dev=dev)
        measures = pl.concat(measure(spoken) for measure in self.test_measures())
        kept = written.select("key", "doc_id", "split", EXPLANATION)
        return Outcome(rows, measures, kept, facts=tests.denominators)

    def test_measures(self) -> Sequence[Any]:
        """Further measures of the writer's texts: functions of a `Spoken`."""
        from common.evaluation.content import content_measures
        from common.evaluation.decodable import decodable_measures
        from common.evaluation.spoken import text_measures

        return text_measures, content_measures, decodable_measures
