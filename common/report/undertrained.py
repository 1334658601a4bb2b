"""Notes on arms that read less than what needs no training: the fault is not that of their size."""

from collections.abc import Sequence

from common.params import CONTROL
from common.report.comparing import gain
from common.report.fve import BEST_LENGTH, scale_of
from common.report.markdown import bounds, code, writer
from common.report.measured import Fve
from common.report.paired import NotMeasuredError, PairedGain
from common.report.references import LAST_TOKEN, TEXT_READERS, main_source, shares_texts
from common.report.results import Results
from common.report.wording import joined, listed
from common.schema import AV_NEUTRAL_AR, NEAREST_TEXT

Beaten = dict[str, PairedGain]
"""{arm: its FVE minus the reference's}."""


def training_notes(results: Results, sources: Sequence[str]) -> list[str]:
    """A sentence for each source and reference that surely beats an arm.

    A reference that reads the same texts shows that an AR is not trained well enough, one that
    looks texts up, that an AV is not; the true last token, that an arm's words say less than it.
    """
    notes = [note for source in sources for note in _of_source(results, source)]
    shown = [source for source in sources if scale_of(results)]
    if not shown:
        return notes
    source = main_source(shown)
    return [*notes, *_looked_up_note(results), *_last_token_note(results, source)]


def beaten(results: Results, source: str, reference: str, arms: Sequence[str]) -> Beaten:
    """The arms that have less FVE than a reference, the whole interval of the difference below 0.

    With the best length of each answer where that was measured: answers of closed form are too
    short for their direction's error to count alone.
    """
    beyond = BEST_LENGTH if scale_of(results, BEST_LENGTH) else None
    found: Beaten = {}
    for arm in arms:
        try:
            less = gain(Fve(source, beyond), results, arm, reference)
        except NotMeasuredError:
            continue
        if less.difference.high < 0:
            found[arm] = less
    return found


def _of_source(results: Results, source: str) -> list[str]:
    """One sentence per reference, of the arms that it beats by most."""
    shared = shares_texts(results.has_own_texts, source)
    arms = results.arms if shared else [CONTROL]
    by_reference = {
        name: beaten(results, source, name, arms) for name in TEXT_READERS if name in results.floors
    }
    worst = {
        arm: min(
            (name for name, found in by_reference.items() if arm in found),
            key=lambda name: by_reference[name][arm].difference.estimate,
            default="",
        )
        for arm in arms
    }
    fitted = _fitted(results)
    notes = []
    for name, found in by_reference.items():
        worse = {arm: found[arm] for arm in arms if worst[arm] == name}
        for is_fitted in (False, True):
            alike = {arm: less for arm, less in worse.items() if (arm in fitted) == is_fitted}
            notes += [_note(source, name, alike, is_fitted)] if alike else []
    return notes


def _fitted(results: Results) -> set[str]:
    """Arms whose ARs have no parameter to train: nothing is won with more steps."""
    if "trainable_parameters" not in results.runs.columns:
        return set()
    runs = results.runs.filter(trainable_parameters=0)
    return set(runs.get_column("arm"))


def _note(source: str, reference: str, found: Beaten, is_fitted: bool) -> str:
    figures = joined([f"{code(arm)} ({bounds(one.difference)})" for arm, one in found.items()])
    if source == AV_NEUTRAL_AR:
        return (
            f"On the explanations of {figures}, {code(reference)}, which is fitted in closed form,"
            " has more FVE than the neutral ARs: these are **not trained well enough**, and"
            " understate what every arm says."
        )
    one = len(found) == 1
    it_is = "it is" if one else "they are"
    why = (
        f"fitted too, so that it is {'its' if one else 'their'} form, at the sizes that were tried,"
        " that reads less."
        if is_fitted
        else f"**not trained well enough**, so {it_is} not shown to be too small."
    )
    return (
        f"On the {writer(source)}, {code(reference)}, which is fitted in closed form, has more FVE"
        f" than {figures}: {'this AR is' if one else 'these ARs are'} {why}"
    )


def _looked_up_note(results: Results) -> list[str]:
    """Of AVs that write less than a look-up among the teacher's texts, which needs no training.

    As neutral ARs read both: an arm's own AR may be another one than that of the look-up.
    """
    if not results.has_own_texts or NEAREST_TEXT not in results.floors:
        return []
    found = beaten(results, AV_NEUTRAL_AR, NEAREST_TEXT, results.arms)
    if not found:
        return []
    one = len(found) == 1
    whose, are = (
        "that AV's" if one else "those AVs'",
        "a writer it is" if one else "writers they are",
    )
    return [
        f"The neutral ARs read more in {code(NEAREST_TEXT)}, the teacher's text of the nearest"
        f" training activation, than in {whose} own texts: {listed([*found])}. As {are}"
        " **not trained well enough**."
    ]


def _last_token_note(results: Results, source: str) -> list[str]:
    found = beaten(results, source, LAST_TOKEN, results.arms)
    if not found:
        return []
    words = "its words" if len(found) == 1 else "their words"
    return [
        f"{code(LAST_TOKEN)}, which knows the true last token and nothing else, has more FVE than"
        f" {listed([*found])}: what is read from {words} is less than this one token tells."
    ]
