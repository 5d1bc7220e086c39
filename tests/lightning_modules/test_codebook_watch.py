import math

import pytest
import torch

from lightning_modules import codebook_watch
from lightning_modules.association_watch import AssociationWatch
from lightning_modules.codebook_report import decode_entries
from lightning_modules.codebook_watch import CodebookWatch
from osdface.networks.autoencoder import Reconstruction, VQAutoencoder, VQConfig
from osdface.networks.quantizer import Quantized


def passed(images: torch.Tensor, indices: torch.Tensor) -> Reconstruction:
    tokens = torch.zeros(len(images), 2, 2, 2)
    return Reconstruction(images * 0.9, tokens, Quantized(tokens, tokens, indices))


def test_mean_image_psnr_is_that_of_two_naive_passes() -> None:
    torch.manual_seed(0)
    watch = CodebookWatch(["hq"], 4)
    images = torch.rand(7, 3, 8, 8) * 2 - 1
    for part in images.split((3, 3, 1)):
        watch.add("hq", part, passed(part, torch.zeros(len(part), 2, 2, dtype=torch.int64)))
    mean = images.double().numpy().mean(0)
    errors = [((image.double().numpy() - mean) ** 2).mean() for image in images]
    wanted = 10 * math.log10(4 / (sum(errors) / len(errors)))  # a range of 2, squared
    figures = watch.compute()
    assert figures["hq/psnr_mean_image"] == pytest.approx(wanted, abs=1e-9)
    assert figures["hq/psnr"] > wanted
    assert "hq/psnr_mean_image" not in watch.compute()  # started anew, nothing seen


def test_counts_of_a_validation_stay_for_the_pictures() -> None:
    watch = CodebookWatch(["lq"], 4)
    images, indices = torch.zeros(1, 3, 4, 4), torch.tensor([[[0, 0], [2, 0]]])
    watch.add("lq", images, passed(images + 0.5, indices))
    figures = watch.compute()
    assert watch.last_counts["lq"].tolist() == [3, 0, 1, 0]
    assert figures["lq/dead_entries"] == 2 and figures["lq/distinct_entries_per_image"] == 2


def test_association_figures_match_a_naive_reference() -> None:
    torch.manual_seed(0)
    hq = torch.randn(5, 6, 2, 3)
    lq = hq + 0.8 * torch.randn(5, 6, 2, 3)
    watch, scale = AssociationWatch(), 5.0
    for part in (slice(0, 3), slice(3, 5)):
        watch.add(hq[part], lq[part], torch.tensor(scale))
    share, matrix = 0.0, torch.zeros(6, 6, dtype=torch.float64)
    for image in range(5):
        h, w = (
            [
                t[image].double().flatten(1)[:, i] / t[image].double().flatten(1)[:, i].norm()
                for i in range(6)
            ]
            for t in (hq, lq)
        )
        cosines = torch.tensor([[float(a @ b) for b in w] for a in h], dtype=torch.float64)
        matrix += cosines / 5
        raised = (scale * cosines).exp()
        for i in range(6):
            row = raised[i, i] / raised[i].sum()
            column = raised[i, i] / raised[:, i].sum()
            share += float(row + column) / 2 / 30
    figures = watch.compute()
    assert figures["association/diagonal_share"] == pytest.approx(share, abs=1e-6)
    assert watch.similarity is not None
    torch.testing.assert_close(watch.similarity, matrix, atol=1e-6, rtol=0)
    off = matrix[~torch.eye(6, dtype=torch.bool)].mean()
    wanted = float(matrix.diagonal().mean() - off)
    assert figures["association/diagonal_contrast"] == pytest.approx(wanted, abs=1e-6)
    assert watch.compute() == {}


def test_top1_and_share_of_known_cases() -> None:
    torch.manual_seed(0)
    watch = AssociationWatch()
    tokens = torch.randn(1, 3, 2, 2)
    swapped = tokens.flatten(2)[:, :, [1, 0, 2, 3]].view_as(tokens)
    watch.add(tokens, tokens, 1.0)
    watch.add(tokens, swapped, 1.0)
    figures = watch.compute()
    assert figures["association/top1_hq_to_lq"] == 0.75
    assert figures["association/top1_lq_to_hq"] == 0.75
    same = torch.ones(2, 3, 2, 2)  # all tokens alike: chance, and no contrast
    watch.add(same, same, 14.0)
    figures = watch.compute()
    assert figures["association/diagonal_share"] == pytest.approx(1 / 4)
    assert figures["association/diagonal_contrast"] == pytest.approx(0, abs=1e-7)


def test_other_ranks_are_added_on_the_ranks_own_device(monkeypatch) -> None:
    """Two ranks with the same pictures: means stay, counts double; NCCL needs the device."""
    devices = []

    def all_reduce(tensor: torch.Tensor) -> None:
        devices.append(tensor.device.type)
        if tensor.device.type != "meta":
            tensor *= 2

    monkeypatch.setattr(codebook_watch.dist, "all_reduce", all_reduce)
    images, indices = torch.rand(2, 3, 4, 4), torch.zeros(2, 2, 2, dtype=torch.int64)
    alone, both = CodebookWatch(["hq"], 4), CodebookWatch(["hq"], 4)
    for watch in (alone, both):
        watch.add("hq", images, passed(images, indices))
    assert both.compute(2, "cpu") == alone.compute()
    assert both.last_counts["hq"][0] == 2 * alone.last_counts["hq"][0] == 16
    with pytest.raises(NotImplementedError):  # nothing comes back from a device without data
        codebook_watch.sum_over_ranks([torch.zeros(1)], 2, "meta")
    assert devices[-1] == "meta"


def test_decoded_entries_are_the_most_used_ones_each_alone() -> None:
    torch.manual_seed(0)
    autoencoder = VQAutoencoder(VQConfig((8, 16), 1, 32, 16, 8)).eval()
    counts = torch.zeros(32, dtype=torch.float64)
    counts[[7, 3, 20]] = torch.tensor([2.0, 9.0, 5.0], dtype=torch.float64)
    shown = decode_entries(autoencoder, counts, (4, 4))
    assert shown.shape == (3, 3, 8, 8)
    with torch.no_grad():
        entry = autoencoder.quantizer.codebook[20]
        alone = autoencoder.decode(entry[None, :, None, None].expand(1, 16, 4, 4))
    torch.testing.assert_close(shown[1], alone[0].clamp(-1, 1), atol=1e-5, rtol=0)
    assert decode_entries(autoencoder, counts, (4, 4), count=2).shape[0] == 2
    assert decode_entries(autoencoder, torch.zeros(32), (4, 4)).shape[0] == 0
    assert decode_entries(autoencoder, counts, (64, 64)).shape == (3, 3, 64, 64)
