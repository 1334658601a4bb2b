"""Keyed randomness: the same key gives the same draw, whatever ran before or beside it."""

import hashlib
import random


def keyed_seed(*key: object) -> int:
    """64-bit seed of a key such as ("position", doc_id, 3); the same on every machine."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def keyed_random(*key: object) -> random.Random:
    """A generator for one key alone, so that order and parallelism never change a draw."""
    return random.Random(keyed_seed(*key))


def keyed_fraction(*key: object) -> float:
    """A number in [0, 1) that depends on the key alone: splits documents once and for all."""
    return keyed_seed(*key) / 2**64
