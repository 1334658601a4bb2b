import polars as pl

from common.report.examples import examples
from common.report.results import CONTROL, Results


def test_texts_of_an_arm_stand_with_the_cosine_of_its_own_ar_in_that_seed(results: Results):
    texts = results.texts.rename({"av": CONTROL})
    first, second = examples(results._replace(texts=texts))
    own = results.rows.filter(
        pl.col("applied"), arm=CONTROL, source="av", transform="original", seed=0, key=first.key
    )
    row = next(line for line in first.table.splitlines() if line.startswith(f"| {CONTROL}"))
    assert row.endswith(f"| `{CONTROL}` {own['cosine'].item():.3f} |")
    taught = next(line for line in second.table.splitlines() if line.startswith("| teacher"))
    assert all(f"`{arm}`" in taught for arm in results.arms), "every arm reads the teacher"
