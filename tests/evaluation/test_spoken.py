"""What an AR reads of the texts of an AV: with what it may see of each text's own input."""

from common.evaluation.spoken import Spoken
from common.evaluation.test_set import TestSet
from common.schema import TOKEN_IDS, Reading, View, nothing


def last_two(source: tuple[int, ...]) -> tuple[int, ...]:
    return source[-2:]


def spoken(held_out: TestSet, view: View = nothing) -> Spoken:
    texts = ["On rivers."] * held_out.table.height
    return Spoken(held_out, None, lambda _: None, texts, 0, held_out.table.head(0), view)


def test_without_a_view_texts_are_read_alone(held_out: TestSet):
    assert spoken(held_out).readings(["a", "b"]) == [Reading("a"), Reading("b")]


def test_every_text_is_read_beside_its_own_input(held_out: TestSet):
    one, other = (tuple(ids[-2:]) for ids in held_out.table[TOKEN_IDS].head(2).to_list())
    assert one != other
    found = spoken(held_out, last_two)
    assert found.readings(["a", "b"]) == [Reading("a", one), Reading("b", other)]
    assert found.readings(["a", "b", "c", "d"], each=2) == [
        Reading("a", one),
        Reading("b", one),
        Reading("c", other),
        Reading("d", other),
    ]
    assert len(found.readings(found.texts)) == held_out.table.height
