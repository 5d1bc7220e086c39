"""Random generators that depend on what is drawn for, never on who draws or when."""

import hashlib

import numpy as np


def stable_hash(*parts: object) -> int:
    """Returns a 128-bit hash of the parts' texts, the same in every process and on every machine.

    Python's own ``hash`` differs from process to process.
    """
    # Each part is preceded by its length, so that ("ab", "c") and ("a", "bc") differ.
    text = "".join(f"{len(str(part))}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def rng_for(seed: int, epoch: int, key: str, purpose: str = "") -> np.random.Generator:
    """Returns the random generator of one sample in one epoch.

    A sample's degradation then does not depend on worker, rank, batch size or restart.

    Args:
        seed: The run's seed.
        epoch: Epoch in which the sample is drawn; 0 for validation.
        key: The sample's key.
        purpose: Separates independent streams of the same sample, such as "noise" and "flip".
    """
    return np.random.Generator(np.random.PCG64(stable_hash(seed, epoch, key, purpose)))
