"""Names for containers that were not given one: an adjective and someone worth remembering."""

import random

_ADJECTIVES = (
    "admiring", "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "candid", "charming",
    "clever", "crisp", "curious", "daring", "deft", "eager", "earnest", "elated", "epic", "fair",
    "fearless", "festive", "fond", "frosty", "gallant", "gentle", "gifted", "glad", "graceful",
    "happy", "hardy", "honest", "hopeful", "humble", "jolly", "keen", "kind", "lively", "loyal",
    "lucid", "mellow", "merry", "mighty", "modest", "neat", "nimble", "noble", "patient",
    "plucky", "polite", "proud", "quick", "quiet", "quirky", "rapid", "ready", "serene", "sharp",
    "silent", "sleek", "solid", "steady", "stoic", "sunny", "swift", "tender", "trusting", "upbeat",
    "vibrant", "vigilant", "vivid", "warm", "wise", "witty", "zealous", "zen",
)  # fmt: skip
_PEOPLE = (
    "allen", "archimedes", "babbage", "bartik", "bell", "boyd", "brahmagupta", "cannon", "cerf",
    "chandrasekhar", "clarke", "curie", "darwin", "diffie", "dijkstra", "easley", "edison",
    "einstein", "elion", "engelbart", "euclid", "euler", "faraday", "fermat", "fermi", "feynman",
    "franklin", "galileo", "gates", "germain", "goldberg", "goodall", "gould", "haibt", "hamilton",
    "hawking", "heisenberg", "hertz", "hodgkin", "hoover", "hopper", "hypatia", "jang", "jennings",
    "johnson", "kalam", "kare", "keller", "kepler", "khorana", "kilby", "knuth", "lamarr",
    "leakey", "lehmann", "liskov", "lovelace", "lumiere", "mayer", "mccarthy", "mcclintock",
    "meitner", "mendel", "mirzakhani", "morse", "neumann", "newton", "nightingale", "nobel",
    "noether", "noyce", "pascal", "pasteur", "perlman", "pike", "poincare", "ptolemy", "raman",
    "ramanujan", "ride", "ritchie", "rosalind", "saha", "sammet", "shannon", "shaw", "sinoussi",
    "snyder", "stallman", "swanson", "swirles", "tereshkova", "tesla", "thompson", "torvalds",
    "turing", "varahamihira", "villani", "volhard", "wescoff", "wiles", "wilson", "wing", "wozniak",
    "wright", "wu", "yalow", "yonath",
)  # fmt: skip


def random_name(attempt: int = 0) -> str:
    """Return a name; later attempts get a number, as dockerd's do."""
    name = f"{random.choice(_ADJECTIVES)}_{random.choice(_PEOPLE)}"
    return f"{name}{random.randrange(10)}" if attempt else name
