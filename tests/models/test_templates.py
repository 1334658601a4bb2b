import copy
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from common.errors import NlaError
from common.models.templates import SYSTEM, ARTemplate, AVTemplate, slot_columns
from common.target.load import Target
from tests.families import with_bos


@pytest.fixture(scope="module")
def tokenizer(target: Target) -> Any:
    return target.tokenizer


def marker_of(tokenizer: Any) -> int:
    return tokenizer.convert_tokens_to_ids("<repo_name>")


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_slots_are_the_markers_between_the_concept_tags(tokenizer: Any, slots: int):
    template = AVTemplate.of(tokenizer, slots)
    prompt, columns = template.prompt_ids, template.slot_columns
    assert len(columns) == slots
    assert columns == tuple(range(columns[0], columns[0] + slots))
    assert [prompt[column] for column in columns] == [marker_of(tokenizer)] * slots
    assert prompt.count(marker_of(tokenizer)) == slots
    assert tokenizer.decode(prompt[: columns[0]]).endswith("Explain this concept: <concept>")
    assert tokenizer.decode(prompt[columns[-1] + 1 :]).startswith("</concept>")


def test_a_marker_in_another_place_is_not_a_slot(tokenizer: Any):
    template, marker = AVTemplate.of(tokenizer), marker_of(tokenizer)
    (column,) = template.slot_columns
    elsewhere = (marker, *template.prompt_ids, marker)
    assert slot_columns(elsewhere, tokenizer, 1) == (column + 1,)
    opened = (*tokenizer.encode("<concept>"), marker)
    assert slot_columns(opened + template.prompt_ids, tokenizer, 1) == (column + len(opened),)
    closed = (marker, *tokenizer.encode("</concept>"))
    assert slot_columns(closed + template.prompt_ids, tokenizer, 1) == (column + len(closed),)


def test_a_prompt_with_no_slot_or_with_two_is_our_bug(tokenizer: Any):
    prompt, marker = AVTemplate.of(tokenizer).prompt_ids, marker_of(tokenizer)
    with pytest.raises(AssertionError, match="0 slot runs"):
        slot_columns(tuple(index for index in prompt if index != marker), tokenizer, 1)
    with pytest.raises(AssertionError, match="2 slot runs"):
        slot_columns(prompt + prompt, tokenizer, 1)
    with pytest.raises(AssertionError, match="0 slot runs"):
        slot_columns(prompt, tokenizer, 2)


def test_without_a_chat_template_the_prompt_is_one_turn_of_chatml(tokenizer: Any):
    template = AVTemplate.of(tokenizer)
    prompt = tokenizer.decode(template.prompt_ids)
    assert prompt.startswith("<|im_start|>user\n")
    assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert template.end_id == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_a_models_own_chat_template_is_used(tokenizer: Any):
    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[reply] "
    )
    template = AVTemplate.of(chatty, 2)
    prompt = chatty.decode(template.prompt_ids)
    assert prompt.startswith(f"[system] {SYSTEM}\n[user] Explain this concept: <concept>")
    assert prompt.endswith("</concept>\n[reply] ")
    assert template.digest() != AVTemplate.of(tokenizer, 2).digest()


def test_digests_are_stable_and_tell_templates_apart(tokenizer: Any):
    assert AVTemplate.of(tokenizer).digest() == AVTemplate.of(tokenizer).digest()
    assert len({AVTemplate.of(tokenizer, slots).digest() for slots in (1, 2, 4)}) == 3
    template = ARTemplate.of(tokenizer)
    assert template.digest() == ARTemplate.of(tokenizer).digest()
    assert template.digest() != ARTemplate(template.before, template.before).digest()


def test_the_ar_reads_an_explanation_between_its_tags(tokenizer: Any):
    template = ARTemplate.of(tokenizer)
    explanation = tokenizer.encode("On rivers.", add_special_tokens=False)
    text = tokenizer.decode([*template.before, *explanation, *template.after])
    assert text == "Summary of the following text: <text>On rivers.</text> <summary>"


def test_a_tokenizer_without_an_unused_token_is_refused():
    words = Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a"))
    with pytest.raises(NlaError, match="no unused token for the slot") as caught:
        AVTemplate.of(PreTrainedTokenizerFast(tokenizer_object=words, eos_token="b"))
    assert "MARKERS" in str(caught.value)


def test_prompts_begin_as_the_tokenizer_begins_texts(tokenizer: Any):
    begins = with_bos(tokenizer)
    bos = begins.convert_tokens_to_ids("<|endoftext|>")
    plain, template = AVTemplate.of(tokenizer, 2), AVTemplate.of(begins, 2)
    assert template.prompt_ids == (bos, *plain.prompt_ids)
    assert template.slot_columns == tuple(column + 1 for column in plain.slot_columns)
    begins.chat_template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    assert AVTemplate.of(begins, 1).prompt_ids.count(bos) == 1, "the template's own is enough"
    assert ARTemplate.of(begins).before == (bos, *ARTemplate.of(tokenizer).before)
    assert ARTemplate.of(begins).after == ARTemplate.of(tokenizer).after


@pytest.mark.parametrize(
    "today",
    [
        "{{ strftime_now('%d %b %Y') }}",
        "{{ date_string if date_string is defined else strftime_now('%d %B') }}",
    ],
)
def test_a_prompt_does_not_depend_on_the_day(tokenizer: Any, today: str):
    dated = copy.deepcopy(tokenizer)
    dated.chat_template = f"{today}: {{% for m in messages %}}{{{{ m.content }}}}{{% endfor %}}"
    assert dated.decode(AVTemplate.of(dated).prompt_ids).startswith("01 Jan 2026: ")


def test_a_tokenizer_without_an_end_is_refused(tokenizer: Any):
    endless = copy.deepcopy(tokenizer)
    endless.eos_token = None
    with pytest.raises(NlaError, match=r"no token that ends a text.*tokenizer_config.json"):
        AVTemplate.of(endless)
