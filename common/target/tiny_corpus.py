"""A small made-up encyclopedia for tests and the smoke profile: no download, always the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from common.schema import DESCRIPTION, TEXT, TITLE, TOPIC
from common.seeding import keyed_random

DOCUMENTS = 400


@dataclass(frozen=True)
class Vocabulary:
    """The words of one topic; every list starts with consonants, so that `a` is always right."""

    kinds: tuple[str, ...]
    traits: tuple[str, ...]
    parts: tuple[str, ...]
    people: tuple[str, ...]
    deeds: tuple[str, ...]
    goods: tuple[str, ...]


TOPICS = {
    "Geography": Vocabulary(
        ("river", "lake", "mountain", "valley", "bay"),
        ("deep", "cold", "narrow", "steep", "quiet", "wide"),
        ("shore", "slope", "ridge", "meadow", "cliff"),
        ("shepherds", "surveyors", "fishermen", "pilgrims"),
        ("cross", "map", "visit", "guard"),
        ("salt", "slate", "trout", "timber", "clay"),
    ),
    "Biology": Vocabulary(
        ("bird", "beetle", "fern", "fish", "moss"),
        ("small", "green", "shy", "spotted", "rare", "pale"),
        ("wing", "leaf", "shell", "root", "tail"),
        ("botanists", "hunters", "gardeners", "children"),
        ("collect", "protect", "study", "feed"),
        ("feathers", "seeds", "colours", "scent", "song"),
    ),
    "Music": Vocabulary(
        ("song", "dance", "march", "symphony", "hymn"),
        ("slow", "merry", "solemn", "loud", "tender", "brief"),
        ("melody", "rhythm", "chorus", "prelude", "finale"),
        ("singers", "drummers", "choirs", "pianists"),
        ("perform", "praise", "rehearse", "record"),
        ("harmony", "verses", "tempo", "mood", "words"),
    ),
    "Technology": Vocabulary(
        ("machine", "bridge", "clock", "loom", "mill"),
        ("heavy", "precise", "robust", "fast", "costly", "modern"),
        ("gear", "wheel", "frame", "spring", "motor"),
        ("builders", "mechanics", "smiths", "students"),
        ("repair", "copy", "test", "run"),
        ("power", "speed", "steel", "timing", "balance"),
    ),
    "Cooking": Vocabulary(
        ("soup", "bread", "cheese", "pie", "sauce"),
        ("sweet", "sour", "spicy", "thick", "crisp", "warm"),
        ("crust", "filling", "broth", "dough", "glaze"),
        ("bakers", "farmers", "cooks", "travellers"),
        ("bake", "serve", "sell", "taste"),
        ("butter", "garlic", "honey", "pepper", "flour"),
    ),
    "History": Vocabulary(
        ("battle", "treaty", "kingdom", "revolt", "council"),
        ("long", "famous", "bitter", "brief", "peaceful", "forgotten"),
        ("siege", "charter", "throne", "border", "law"),
        ("soldiers", "nobles", "merchants", "monks"),
        ("remember", "fear", "celebrate", "discuss"),
        ("taxes", "grain", "silver", "freedom", "land"),
    ),
}

PLACES = ("northern Tavria", "the Mirel plain", "Lower Sandor", "the Kessin hills", "Port Belan")
SURNAMES = ("Harlow", "Deniz", "Moreau", "Pashkin", "Tolland", "Reyes", "Lindqvist", "Badaro")
NAMES = ("Clara", "Victor", "Mina", "Josef", "Leonie", "Samuel")
MONTHS = ("March", "May", "July", "September", "November")
SYLLABLES = ("ka", "ro", "mel", "sin", "tor", "va", "lun", "dei", "par", "no", "bri", "sol")

FACTS = (
    "It was first described by {person} in {year}.",
    "Its {part} is {trait2}, {trait3} and {trait4}.",
    "In {month} many {people} {deed} the {kind}, because of its {good} and {good2}.",
    "{surname} (who lived in {place}) wrote that it was more {trait2} than any other {kind}.",
    'The saying "no {part}, no {good}" comes from {place}.',
    "About {number} {people} {deed} it every year, mostly in {month}.",
    "After {year2}, the {part} became {trait3}, and the {people} began to lose their {good2}.",
    "Today the {kind} is known for {good}, {good2} and its {trait4} {part}.",
    "There are {count} others of this kind in {place}, but only {title} has a {trait} {part}.",
    "When {person} came to {place} in {year2}, the {people} still had {good} of their own.",
)


def tiny_documents() -> Iterator[dict[str, str | None]]:
    """`DOCUMENTS` articles of about 60 to 100 words: text, title, description and topic."""
    for index in range(DOCUMENTS):
        random = keyed_random("tiny_corpus", index)
        topic = random.choice(list(TOPICS))
        words = _words(TOPICS[topic], random)
        sentences = ["{title} is a {trait} {kind} in {place}.", *random.sample(FACTS, 6)]
        yield {
            TEXT: " ".join(sentences).format(**words),
            TITLE: words["title"],
            DESCRIPTION: f"{words['trait'].capitalize()} {words['kind']} in {words['place']}",
            TOPIC: topic,
        }


def _words(vocabulary: Vocabulary, random: Random) -> dict[str, str]:
    """The words of one article: the same kind, place, people and goods in every sentence."""
    traits = random.sample(vocabulary.traits, 4)
    goods = random.sample(vocabulary.goods, 2)
    surname, year = random.choice(SURNAMES), random.randint(1400, 1900)
    return {
        "title": "".join(random.choices(SYLLABLES, k=3)).capitalize(),
        "kind": random.choice(vocabulary.kinds),
        "place": random.choice(PLACES),
        "part": random.choice(vocabulary.parts),
        "people": random.choice(vocabulary.people),
        "deed": random.choice(vocabulary.deeds),
        "person": f"{random.choice(NAMES)} {surname}",
        "surname": surname,
        "month": random.choice(MONTHS),
        "year": str(year),
        "year2": str(year + random.randint(20, 90)),
        "number": f"{random.randint(2, 90)},000",
        "count": str(random.randint(3, 19)),
        **dict(zip(("trait", "trait2", "trait3", "trait4"), traits, strict=True)),
        **dict(zip(("good", "good2"), goods, strict=True)),
    }
