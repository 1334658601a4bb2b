import polars as pl

from common.arms.neutral import balanced


def table(said: str) -> pl.DataFrame:
    keys = [f"{number}:16" for number in range(6)]
    return pl.DataFrame({"key": keys, "explanation": [f"{said} {key}" for key in keys]})


def test_each_arm_gives_as_much_and_what_avs_alike_wrote_counts_once():
    spoken = [
        ("control", table("a")),
        ("control", table("b")),
        ("frozen_av", table("start")),
        ("frozen_av", table("start")),
        ("warm_start", table("start")),
    ]
    texts = [example.text.split()[0] for examples in balanced(spoken) for example in examples]
    assert texts.count("start") == 6
    assert texts.count("a") + texts.count("b") == 6
    assert {"a", "b"} < set(texts), "of every seed"
    assert len(texts) == 12
