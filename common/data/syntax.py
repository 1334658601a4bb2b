"""Where in its sentence a text stops: simple rules on the last words, no parser."""

import re


def _words(listing: str) -> frozenset[str]:
    return frozenset(listing.split())


PREPOSITIONS = _words(
    "of in to for with on at by from as into over after under between through during before "
    "against among within without about across along toward towards near since until upon "
    "throughout around beyond behind beside above below via per than like"
)
ARTICLES = _words("a an the")
DETERMINERS = _words(
    "this that these those its his her their our your my some any each every all both no many "
    "several most more few other another such"
)
CONJUNCTIONS = _words("and or but nor yet")
CONNECTIVES = _words(
    "which who whom whose where when while because although though if whether whereas unless how "
    "what why so then however therefore also thus"
)
PRONOUNS = _words("it he she they we you i him them us there itself himself themselves")
AUXILIARIES = _words(
    "is are was were be been being am has have had do does did can could may might will would "
    "shall should must not"
)
FUNCTION_WORDS = frozenset().union(
    PREPOSITIONS, ARTICLES, DETERMINERS, CONJUNCTIONS, CONNECTIVES, PRONOUNS, AUXILIARIES
)

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")

_CLASSES = (
    (ARTICLES, "after an article, noun next"),
    (PREPOSITIONS, "after a preposition, noun phrase next"),
    (CONJUNCTIONS, "after a conjunction, parallel item next"),
    (DETERMINERS, "after a determiner, noun next"),
    (AUXILIARIES, "after an auxiliary, verb or complement next"),
    (PRONOUNS, "after a pronoun, verb next"),
    (CONNECTIVES, "after a connective, new clause next"),
)
_MONTH = re.compile(
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December)$"
)
_ABBREVIATION = re.compile(
    r"(?:\b[A-Za-z]|\b(?:St|Dr|Mr|Mrs|Jr|Sr|vs|ca|etc|No|Mt|lit|e\.g|i\.e))\.$"
)
_QUOTATION = re.compile(r'(?<!\d)"[^"]*"|“[^“”]*”')
_OPEN_MARK = re.compile(r'(?<!\d)"|“')
"""A straight mark behind a digit opens no quotation: it is an inch."""
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)\"'][.!?])\s+(?=[A-Z0-9\"'(])")


def sentences(text: str) -> list[str]:
    """The sentences so far, the last one possibly unfinished."""
    return _SENTENCE_END.split(text.strip())


def is_inside_word(text: str, next_token: str) -> bool:
    """Whether the next token continues the word that the text stops in."""
    return text[-1:].isalnum() and next_token[:1].isalnum()


def state(text: str, next_token: str = "") -> str:
    """A description of the end of the text, such as `after a comma in a list`; never empty."""
    if is_inside_word(text, next_token):
        return "inside an unfinished number" if text[-1].isdigit() else "inside an unfinished word"
    sentence = sentences(text)[-1].rstrip()
    return _after_mark(sentence) or _after_word(sentence, next_token)


def surroundings(text: str) -> list[str]:
    """The open brackets around the end of the text: a parenthesis, a quotation."""
    sentence = sentences(text)[-1]
    opened = []
    if sentence.count("(") > sentence.count(")"):
        opened.append("inside a parenthesis")
    if _OPEN_MARK.search(_QUOTATION.sub(" ", sentence)):
        opened.append("inside a quotation")
    return opened


def ordinal(text: str) -> str:
    """Which sentence of the text is the last one: `first` to `eighth`, then `later`."""
    count = len(sentences(text))
    return ORDINALS[count - 1] if count <= len(ORDINALS) else "later"


def _after_mark(sentence: str) -> str:
    """The state after a punctuation mark, "" after anything else."""
    if sentence.endswith((".", "!", "?")):
        return "after an abbreviation" if _ABBREVIATION.search(sentence) else "sentence just ended"
    if sentence.endswith(","):
        in_list = re.search(r",(?:\s+[^\s,]+){1,3},$", sentence)
        return "after a comma in a list" if in_list else "after a comma, clause goes on"
    marks = {
        ";": "after a semicolon, new clause next",
        ":": "after a colon, explanation next",
        "(": "parenthesis just opened",
        ")": "parenthesis just closed",
        "-": "after a hyphen, compound goes on",
        "\u2013": "after a dash",
        "\u2014": "after a dash",
        "'": "after an apostrophe",
        '"': "after a quotation mark",
        "$": "after a sign, number next",
        "%": "after a percentage",
    }
    return marks.get(sentence[-1:], "" if sentence[-1:].isalnum() else "after a sign or mark")


def _after_word(sentence: str, next_token: str) -> str:
    word = re.findall(r"[^\s(\"“]+$", sentence)[0]
    for words, description in _CLASSES:
        if word.lower() in words:
            return description
    if word[-1].isdigit():
        return "after a year" if re.search(r"\b1\d{3}$|\b20\d\d$", word) else "after a number"
    if _MONTH.search(word):
        return "after a month, date goes on"
    kind = "after a name" if word[0].isupper() and word != sentence else _kind_of(word)
    ends = next_token.strip().startswith((".", ",", ";", ":", ")"))
    return f"{kind}, pause next" if ends else kind


def _kind_of(word: str) -> str:
    endings = {"ly": "after an adverb", "ing": "after an -ing form", "ed": "after a past form"}
    for ending, kind in endings.items():
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return kind
    return "after a content word"
