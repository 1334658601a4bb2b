import os
import subprocess
import sys

from common.seeding import keyed_fraction, keyed_random, keyed_seed


def test_a_key_always_gives_the_same_draw():
    """Splits, positions and batches of published runs hang on these numbers."""
    assert keyed_seed("position", "doc", 3) == 4566342410688016579
    code = "from common.seeding import keyed_seed; print(keyed_seed('position', 'doc', 3))"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == keyed_seed("position", "doc", 3)


def test_what_else_is_drawn_does_not_matter():
    first = keyed_random("a").random()
    keyed_random("b").random()
    assert keyed_random("a").random() == first


def test_keys_are_told_apart():
    assert (
        len(
            {keyed_seed("a", "b"), keyed_seed("ab"), keyed_seed("a", "b", ""), keyed_seed("b", "a")}
        )
        == 4
    )


def test_fractions_are_spread_evenly():
    drawn = [keyed_fraction("split", number) for number in range(2000)]
    assert all(0 <= value < 1 for value in drawn)
    for tenth in range(10):
        assert abs(sum(int(10 * value) == tenth for value in drawn) - 200) < 60
