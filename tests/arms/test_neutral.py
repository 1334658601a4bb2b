from pathlib import Path

import polars as pl

from common.arms.neutral import balanced
from common.runs import RunFolder


def run(arm: str, seed: int) -> RunFolder:
    return RunFolder(Path("runs/smoke/baseline") / arm / str(seed))


def table(said: str) -> pl.DataFrame:
    keys = [f"{number}:16" for number in range(6)]
    return pl.DataFrame({"key": keys, "explanation": [f"{said} {key}" for key in keys]})


def test_each_arm_gives_as_much_and_what_avs_alike_wrote_counts_once():
    spoken = {
        run("control", 0): table("a"),
        run("control", 1): table("b"),
        run("frozen_av", 0): table("start"),
        run("frozen_av", 1): table("start"),
        run("warm_start", 0): table("start"),
    }
    texts = [example.text.split()[0] for examples in balanced(spoken) for example in examples]
    assert texts.count("start") == 6
    assert texts.count("a") + texts.count("b") == 6
    assert {"a", "b"} < set(texts), "of every seed"
    assert len(texts) == 12
