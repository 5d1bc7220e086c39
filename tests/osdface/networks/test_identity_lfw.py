"""The identity network on photographs of people whom it never saw: LFW."""

import numpy as np
import torch
from PIL import Image

from osdface.networks.identity import load_identity

PEOPLE, PICTURES, FOLDS = 200, 2, 10


def test_mobilefacenet_separates_same_from_different_people(shared_data) -> None:
    """Accuracy above 99 % at a threshold that other people chose, as in LFW's own protocol."""
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
    first, second = np.triu_indices(len(files), 1)
    folds = np.array(owner) % FOLDS
    alike = np.array(owner)[first] == np.array(owner)[second]
    rates = []
    for fold in range(FOLDS):  # the other folds' people choose the threshold
        held_out = (folds[first] == fold) & (folds[second] == fold)
        others = (folds[first] != fold) & (folds[second] != fold)
        candidates = np.linspace(0.1, 0.5, 81)
        known = [cosines[first, second][others & same] for same in (alike, ~alike)]
        threshold = max(candidates, key=lambda c, known=known: accuracy(*known, c))
        told = [cosines[first, second][held_out & same] for same in (alike, ~alike)]
        rates.append(accuracy(*told, threshold))
    assert np.mean(rates) > 0.99


def accuracy(same: np.ndarray, others: np.ndarray, threshold: float) -> float:
    """The mean of the shares of same and of different pairs that are told right."""
    return ((same > threshold).mean() + (others <= threshold).mean()) / 2
