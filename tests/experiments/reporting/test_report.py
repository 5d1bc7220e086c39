import csv
import io
import math

import pytest

from experiments.reporting.ablation import write_report
from experiments.reporting.records import read_variants
from osdface.errors import UserError

HEADER = "variant,status,psnr,perceptual,identity,ssim,identity_angle,l1,steps,seconds,seeds,reason"


@pytest.fixture(autouse=True)
def no_charts(monkeypatch):
    """Tables are tested here; a chart takes a second or two."""
    monkeypatch.setattr("experiments.reporting.ablation.ablation_chart", lambda *args: None)
    monkeypatch.setattr("experiments.reporting.ablation.curves_chart", lambda *args: False)


def table(output):
    return list(csv.DictReader(io.StringIO((output.path / "ablation.csv").read_text())))


def test_exact_csv_with_a_failed_variant(output):
    output.references()
    output.write("config.yaml", "variants: [mse, full, no_gan]\n")
    output.run("full", psnr=25.5)
    output.run("no_gan", "failed", "ValueError: a, b")
    output.run("mse")
    assert write_report(output.path) == ["no_gan"]
    assert (output.path / "ablation.csv").read_text() == "\n".join(
        [
            HEADER,
            "degraded,reference,21.0,0.2,0.8,0.75,36.0,0.05,,,,",
            "untrained,reference,20.0,0.2,0.8,0.75,36.0,0.05,,,,",
            "mse,finished,25.0,0.2,0.8,0.75,36.0,0.05,300,60.0,1,",
            "full,finished,25.5,0.2,0.8,0.75,36.0,0.05,300,60.0,1,",
            'no_gan,failed,,,,,,,,,0,"ValueError: a, b"',
            "",
        ]
    )


def test_mean_and_sample_deviation_over_seeds(output):
    values = [24.0, 25.0, 27.0]
    for seed, psnr in enumerate(values):
        output.run(f"full/seed-{seed}", psnr=psnr)
    output.run("mse/seed-0")
    assert write_report(output.path) == []
    full, mse = table(output)
    mean = sum(values) / 3
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
    assert float(full["psnr"]) == pytest.approx(mean, abs=1e-6)
    assert float(full["psnr_std"]) == pytest.approx(deviation, abs=1e-6)
    assert (full["seeds"], float(full["l1_std"])) == ("3", 0.0)
    assert (mse["seeds"], mse["psnr_std"]) == ("1", "")
    text = (output.path / "ablation.md").read_text()
    assert f"**{mean:.2f} ± {deviation:.2f}**" in text


def test_some_failed_seeds_leave_the_others(output):
    output.run("full/seed-0", psnr=24.0)
    output.run("full/seed-1", "failed", "RuntimeError: x")
    output.run("full/seed-10", "failed", "RuntimeError: x")
    output.run("full/seed-2", psnr=26.0)
    assert write_report(output.path) == ["full"]
    (row,) = table(output)
    assert (row["status"], row["psnr"], row["seeds"]) == ("partly failed", "25.0", "2")
    assert row["reason"] == "seed-1, seed-10: RuntimeError: x"


def test_any_subset_can_be_reported(output):
    assert write_report(output.path) == []
    assert (output.path / "ablation.csv").read_text() == HEADER + "\n"
    assert not (output.path / "comparison.png").exists()
    output.write("config.yaml", "variants: default\n")
    output.run("full", "running")
    assert write_report(output.path) == []
    (row,) = table(output)
    assert (row["status"], row["psnr"]) == ("running", "")
    assert row["reason"] == "not finished, at step 300"
    summary = (output.path / "summary.md").read_text()
    assert "- not started: mse, no_id, no_gan, plain_dists, ea_lpips, all" in summary


def test_finished_without_figures_counts_as_failed(output):
    output.run("full")
    (output.path / "full/metrics.json").unlink()
    output.write("mse/status.json", "{")
    assert write_report(output.path) == ["full", "mse"]
    assert [row["reason"] for row in table(output)] == [
        "metrics.json is missing or not readable",
        "status.json is not readable",
    ]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("variants: [full, a]\n", ["full", "a", "mse", "z"]),
        ("variants: default\n", ["mse", "full", "a", "z"]),
        ("variants: z,full\n", ["z", "full", "a", "mse"]),
        ("- broken: [\n", ["a", "full", "mse", "z"]),
    ],
)
def test_order_of_the_config_then_of_names(output, config, expected):
    output.write("config.yaml", config)
    for name in ("z", "mse", "a", "full"):
        output.run(name)
    assert [row.name for row in read_variants(output.path)] == expected
    given = read_variants(output.path, order=["a", "z"])
    assert [row.name for row in given] == ["a", "z", "full", "mse"]


def test_the_best_is_bold_in_its_direction_and_nan_never_is(output):
    output.run("mse", psnr=25.0, perceptual=0.3, identity=0.8)
    output.run("full", psnr=24.0, perceptual=0.1, identity=math.nan)
    output.run("no_id", psnr=25.001, perceptual=0.2, identity=0.7)
    write_report(output.path)
    lines = (output.path / "ablation.md").read_text().splitlines()
    cells = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[3:6]]
        for line in lines
        if line.startswith("| ")
    }
    assert cells["mse"] == ["**25.00**", "0.3000", "**0.8000**"]
    assert cells["full"] == ["24.00", "**0.1000**", "nan"]
    assert cells["no_id"] == ["**25.00**", "0.2000", "0.7000"]


def test_stand_ins_are_named(output):
    output.write("references/specification.json", {"identity": "stand-in network"})
    output.run("mse")
    write_report(output.path)
    text = (output.path / "ablation.md").read_text()
    assert text.index("- identity: stand-in network") < text.index("| variant")


def test_summary_says_whether_the_gain_exceeds_the_spread(output):
    output.references()
    output.run("full/seed-0", psnr=22.0, perceptual=0.1)
    output.run("full/seed-1", psnr=26.0, perceptual=0.2)
    write_report(output.path)
    text = (output.path / "summary.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| degraded")]
    # gains over 21 dB and 0.2: 24 - 21 = 3 within a spread of 4; 0.2 - 0.15 within 0.1
    assert [cell.strip() for cell in line.split("|")[2:4]] == ["+3.00 ≤ 4.00", "+0.0500 ≤ 0.1000"]


def test_a_vre_ablation_says_what_its_variants_are(output):
    stage1 = {"lq_steps": 30, "association_steps": 20}
    config = {
        "experiment": "ablation_vre",
        "variants": ["distinct", "no_association"],
        "vre": {"random": False, "checkpoint": None, "unassociated": None},
        "scale": {
            "stage1": stage1,
            "vre": {"init_from": "shipped:vre"},
            "no_association": {"lq_steps": 9, "association_steps": 0, "init_from": None},
        },
    }
    output.write("config.yaml", config)
    output.references()
    output.run("no_association")
    output.run("distinct", psnr=26.0)
    write_report(output.path)
    text = (output.path / "ablation.md").read_text()
    assert "- `distinct`: the paper's" in text
    assert "had 9 LQ steps, from nothing, that of the others" in text
    assert "had 30 LQ steps and 20 of association, from shipped:vre" in text
    summary = (output.path / "summary.md").read_text()
    assert "What `distinct` gains" in summary and "published" not in summary
    assert not (output.path / "published.md").exists()


def test_published_rows_stand_alone(output):
    output.run("mse")
    write_report(output.path)
    text = (output.path / "published.md").read_text()
    numbers = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert numbers[2:] == ["1", "2", "3", "4", "5 (published model)"]
    assert "41.9502" in text and "arXiv:2411.17163" in text
    assert "mse" not in text and "41.9502" not in (output.path / "ablation.md").read_text()


def test_no_such_folder(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        write_report(tmp_path / "none")
