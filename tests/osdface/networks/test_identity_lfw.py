"""The identity network on photographs of people whom it never saw: LFW."""

import itertools
import random

import numpy as np
import torch
from PIL import Image

from osdface.networks.identity import load_identity

PEOPLE = 100


def test_mobilefacenet_separates_same_from_different_people(shared_data) -> None:
    """Accuracy above 99 % at a threshold that other people's pairs chose."""
    people: dict[str, list] = {}
    for file in sorted((shared_data / "data/faces/lfw_aligned_128").glob("*.jpg")):
        people.setdefault(file.stem.rpartition("_")[0], []).append(file)
    chosen = [files for files in people.values() if len(files) > 1][:PEOPLE]
    files = [file for each in chosen for file in each[:3]]
    owner = [number for number, each in enumerate(chosen) for _ in each[:3]]
    network = load_identity("mobilefacenet", shared_data / "data/weights")
    pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        embeddings = torch.cat([network(part) for part in images.split(50)]).double()
    cosines = (embeddings @ embeddings.T).numpy()
    halves = []
    for half in (0, 1):  # people of one half choose the threshold, those of the other are told apart
        places = [i for i in range(len(files)) if owner[i] % 2 == half]
        pairs = list(itertools.combinations(places, 2))
        same = [cosines[i, j] for i, j in pairs if owner[i] == owner[j]]
        others = [cosines[i, j] for i, j in pairs if owner[i] != owner[j]]
        halves.append((np.array(same), np.array(random.Random(0).sample(others, len(same)))))
    right = total = 0
    for (same, others), (far, apart) in (halves, halves[::-1]):
        candidates = np.sort(np.concatenate([same, others]))
        correct = [(same > c).sum() + (others <= c).sum() for c in candidates]
        best = np.flatnonzero(np.equal(correct, max(correct)))
        threshold = candidates[best[len(best) // 2]]
        right += (far > threshold).sum() + (apart <= threshold).sum()
        total += len(far) + len(apart)
    assert total >= 500
    assert right / total > 0.99
