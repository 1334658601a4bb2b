import pytest

from common.errors import NlaError
from common.metrics.copying import invented_share, longest_run, matched_suffix

SOURCE = "The old cat sat on the red mat, and the dog"


@pytest.mark.parametrize(
    ("quotation", "source", "count"),
    [
        ("mat, and the dog", SOURCE, 4),
        ("MAT AND THE DOG", SOURCE, 4),
        ("a hat and the dog", SOURCE, 3),
        ("and a dog", SOURCE, 1),
        ("the dog ran", SOURCE, 0),
        ("the dog.", SOURCE, 2),
        ("the red mat", "on the red mat, (", 3),
        ("a green plant makes", "A green plant makes", 4),
        ("photosynth", "by photosynth", 1),
        ("photosynthesis", "by photosynth", 0),
        ("synth", "by photosynth", 0),
        ("the dog", "dog", 1),
        ("dog", "the dog", 1),
        ("in 1.5 km", "a length of 1,5 km", 3),
        ("", SOURCE, 0),
        ("...", SOURCE, 0),
        ("dog", "", 0),
        ("dog", "?!", 0),
        ("红色的狗", "一只红色的狗", 4),
    ],
)
def test_the_suffix_is_counted_in_words_from_the_end(quotation: str, source: str, count: int):
    assert matched_suffix(quotation, source) == count


@pytest.mark.parametrize(
    ("explanation", "run"),
    [
        ('Ends with "the red mat, and a dog".', 4),
        ("A cat SAT on: the red hat", 5),
        ("Nothing of it stands here", 0),
        ("the the the", 1),
        ("catsat on", 1),
        ("old cat. Later on the red mat", 4),
        (SOURCE, 11),
        ("", 0),
    ],
)
def test_the_longest_run_is_of_whole_words(explanation: str, run: int):
    assert longest_run(explanation, SOURCE) == run


def test_no_source_has_no_run():
    assert longest_run("a cat", "") == 0


def test_a_quotation_is_invented_as_a_whole():
    assert invented_share(["the red mat"], SOURCE) == 0
    assert invented_share(["the red hat"], SOURCE) == 1
    assert invented_share(["the red mat", "a hat"], SOURCE) == pytest.approx(2 / 5)
    assert invented_share(["mat red"], SOURCE) == 1, "no run"
    assert invented_share([], SOURCE) == 0
    assert invented_share(["...", ""], SOURCE) == 0
    assert invented_share(["a cat"], "") == 1


def test_a_quotation_of_several_words_may_begin_inside_one():
    assert invented_share(["0 miles. Today"], "near to 21,600 miles. Today") == 0
    assert invented_share(["day"], "near to 21,600 miles. Today") == 1


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("measure", [matched_suffix, longest_run])
def test_a_text_that_could_not_be_made_is_refused(measure):
    with pytest.raises(NlaError, match="None is no text"):
        measure(None, SOURCE)
