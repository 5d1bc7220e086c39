"""The identity network on photographs of people whom it never saw: LFW."""

import itertools

import numpy as np
import torch
from PIL import Image

from osdface.networks.identity import load_identity

PEOPLE, PICTURES = 150, 2


def test_mobilefacenet_separates_same_from_different_people(shared_data) -> None:
    """Accuracy above 99 % at a threshold that other people's pairs chose."""
    people: dict[str, list] = {}
    for file in sorted((shared_data / "data/faces/lfw_aligned_128").glob("*.jpg")):
        people.setdefault(file.stem.rpartition("_")[0], []).append(file)
    chosen = [files for files in people.values() if len(files) > 1][:PEOPLE]
    files = [file for each in chosen for file in each[:PICTURES]]
    owner = [number for number, each in enumerate(chosen) for _ in each[:PICTURES]]
    network = load_identity("mobilefacenet", shared_data / "data/weights")
    pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        embeddings = torch.cat([network(part) for part in images.split(50)]).double()
    cosines = (embeddings @ embeddings.T).numpy()
    halves = []
    for half in (0, 1):  # of one half's people is the threshold
        places = [i for i in range(len(files)) if owner[i] % 2 == half]
        pairs = list(itertools.combinations(places, 2))
        same = [cosines[i, j] for i, j in pairs if owner[i] == owner[j]]
        others = [cosines[i, j] for i, j in pairs if owner[i] != owner[j]]
        halves.append((np.array(same), np.array(others)))
    rates = []
    for chosen_by, told in (halves, halves[::-1]):
        candidates = np.linspace(-1, 1, 2001)
        found = np.array([accuracy(*chosen_by, c) for c in candidates])
        best = candidates[found > found.max() - 1e-3]  # a plateau: its middle, not its edge
        rates.append(accuracy(*told, best.mean()))
    assert np.mean(rates) > 0.99


def accuracy(same: np.ndarray, others: np.ndarray, threshold: float) -> float:
    """The mean of the shares of same and of different pairs that are told right."""
    return ((same > threshold).mean() + (others <= threshold).mean()) / 2
