"""Tables say what was measured beside what was published, and mark the best and the second."""

import csv
import io
import json
import re
from dataclasses import asdict

import pytest

from experiments.baselines.method_files import OURS, shipped_methods
from experiments.baselines.paper import LAYOUTS, SETS, published
from experiments.baselines.records import Entry, Record, read_record, read_records
from experiments.baselines.rendering import as_csv, escaped, latex, markdown
from experiments.baselines.rows import MEASURED, PUBLISHED, Row, rank
from experiments.baselines.runs import Run
from experiments.baselines.tables import suite_table, tables_from_disk
from experiments.benchmark import main
from osdface.errors import UserError

REAL = {"text": "LPIPS on vgg16", "comparable": True}
STAND_IN = {"text": "angle by tiny_b (stand-in)", "comparable": False}


def record(images: int = 3000, **values: dict[str, float]) -> Record:
    measures = {"lpips": REAL, "deg": STAND_IN}
    found = Record(
        "celeba_test", "", images, "digest", measures, "a machine", "2026-01-01T00:00:00"
    )
    for key, figures in values.items():
        method = shipped_methods()[key]
        run = Run("done", "", images, images, 0.5, 2.0, figures)
        found.entries[key] = Entry(method.name, method.steps, run)
    return found


def lines(table, method: str) -> dict[str, Row]:
    return {row.source: row for row in table.rows if row.method == method}


def test_published_figures_are_whole() -> None:
    assert [len(published(table)) for table in ("1", "2", "complexity")] == [10, 10, 5]
    for table in ("1", "2", "complexity"):
        keys = {column.key for column in LAYOUTS[table].columns}
        assert all(row.values.keys() == keys for row in published(table))
    ours = {row.method: row for row in published("1")}["OSDFace"]
    assert (ours.values["lpips"], ours.values["fid_hq"], ours.steps) == (0.3365, 17.0617, 1)


def test_published_figures_are_those_of_the_sources(shared_data) -> None:
    """Every cell, read from the private copy by another reader."""
    for layout in LAYOUTS.values():
        ours = (LAYOUTS, layout)[1].file
        source = (shared_data / "data/published" / ours).read_text().splitlines()
        table = next(name for name, each in LAYOUTS.items() if each is layout)
        for line, row in zip(source[1:], published(table), strict=True):
            cells = dict(zip(source[0].split(","), line.split(","), strict=True))
            assert cells["method"] == row.method
            assert {key: float(cells[key]) for key in row.values} == row.values


def test_the_published_ablation_is_that_of_the_sources(shared_data, tmp_path) -> None:
    source = (shared_data / "data/published/ablation_losses.csv").read_text().splitlines()
    (tmp_path / "mse").mkdir()
    (tmp_path / "config.yaml").write_text("experiment: ablation_losses\nvariants: [mse]\n")
    (tmp_path / "mse/status.json").write_text('{"status": "finished", "step": 5}')
    rows = tables_from_disk("ablation_losses", tmp_path)[1].rows
    heads = source[0].split(",")[1:]
    for line, row in zip(source[1:], rows, strict=True):
        number, *cells = line.split(",")
        assert row.method.split(" (")[0] == f"row {number}" and row.source == PUBLISHED
        assert row.values == dict(zip(heads, map(float, cells), strict=True))


def test_a_difference_is_measured_minus_published() -> None:
    table = suite_table([record(codeformer={"lpips": 0.35, "deg": 50.0})], "1")
    own = lines(table, "CodeFormer")
    assert own["difference"].values == {"lpips": pytest.approx(0.35 - 0.3412)}
    assert own[PUBLISHED].values["deg"] == 62.1972 and own[MEASURED].values["deg"] == 50.0
    assert "+0.0088" in markdown(table) and "Deg.† ↓" in markdown(table)
    # Stand-ins are named in the title, and beside every row of the CSV that they measured.
    assert "stand-in networks measured deg" in table.title
    rows = {(r["method"], r["source"]): r for r in csv.DictReader(io.StringIO(as_csv(table)))}
    assert "stand-in networks: deg" in rows["CodeFormer", "measured"]["note"]


def test_no_difference_where_the_pictures_are_not_the_papers() -> None:
    table = suite_table([record(5, codeformer={"lpips": 0.35})], "1")
    assert set(lines(table, "CodeFormer")) == {MEASURED, PUBLISHED}
    assert any("5 images" in note and "3000" in note for note in table.notes)


def test_our_model_is_held_against_the_published_one() -> None:
    table = suite_table([record(osdface_ours={"lpips": 0.3})], "1")
    name = shipped_methods()[OURS].name
    difference = lines(table, f"{name} to OSDFace")["difference"]
    assert difference.values["lpips"] == pytest.approx(0.3 - 0.3365)


def test_marks_against_a_naive_search() -> None:
    columns = LAYOUTS["1"].columns
    table = suite_table([record(vqfr={"lpips": 0.3}, daefr={"lpips": 0.4})], "1")
    for source in (MEASURED, PUBLISHED):
        own = [row for row in table.rows if row.source == source]
        for column in columns:
            figures = [row.values.get(column.key) for row in own]
            if sum(value is not None for value in figures) < 2:
                assert not any(column.key in row.marks for row in own)
                continue
            for row in own:
                better = {
                    value
                    for value in figures
                    if value is not None
                    and (
                        value > row.values[column.key]
                        if column.higher
                        else value < row.values[column.key]
                    )
                }
                expected = len(better) + 1 if len(better) < 2 else None
                assert row.marks.get(column.key) == expected


def test_what_is_printed_alike_is_marked_alike() -> None:
    column = LAYOUTS["1"].columns[0]
    rows = [Row(n, MEASURED, values={"lpips": v}) for n, v in zip("abc", (0.1, 0.10001, 0.2))]  # noqa: B905
    rank(rows, [column])
    assert [row.marks["lpips"] for row in rows] == [1, 1, 2]


def test_latex_has_the_same_columns_in_every_row() -> None:
    table = suite_table([record(osediff_face={"lpips": 0.3, "deg": 1.0})], "1")
    text = latex(table)
    columns = re.search(r"begin\{tabular\}\{(\w+)\}", text)[1]
    body = text[text.index("midrule") : text.index("bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == len(table.rows)
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns) - 1}
    assert r"\textbf{0.3365}" in text and r"\underline{0.3390}" in text
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert escaped("a_b & 5% {x}^~\\") == (
        r"a\_b \& 5\% \{x\}\textasciicircum{}\textasciitilde{}\textbackslash{}"
    )


def test_table_2_has_a_head_over_each_set() -> None:
    found = record(970, codeformer={"fid": 38.0, "niqe": 4.0})
    found.suite, found.set = "real_world", "wider"
    found.measures = {"fid": {"text": "FID", "comparable": True}}
    table = suite_table([found], "2")
    own = lines(table, "CodeFormer")
    assert own["difference"].values == {"wider_fid": pytest.approx(38.0 - 38.765)}
    assert own[MEASURED].status == "wider: 970 images"
    assert all(rf"\multicolumn{{5}}{{c}}{{{name}}}" in latex(table) for name in SETS.values())


def test_a_record_comes_back_and_the_newest_counts(tmp_path) -> None:
    old, new = record(codeformer={"lpips": 0.5}), record(codeformer={"lpips": 0.4})
    new.created = "2026-02-01T00:00:00"
    for name, each in (("z", old), ("a", new)):
        (tmp_path / name).mkdir()
        each.write(tmp_path / name)
    back = read_record(tmp_path / "a/benchmark.json")
    assert asdict(back) | {"folder": None} == asdict(new)
    assert [each.created for each in read_records(tmp_path)] == [old.created, new.created]
    (table,) = tables_from_disk("1", tmp_path)
    assert lines(table, "CodeFormer")[MEASURED].values["lpips"] == 0.4
    (tmp_path / "a/benchmark.json").write_text("{}")
    with pytest.raises(UserError, match="no result of this benchmark"):
        tables_from_disk("1", tmp_path)


def test_complexity_by_whoever_counted_and_timed(tmp_path) -> None:
    (tmp_path / "model").mkdir()
    content = {"params_total": 979_130_000, "macs_total": 2_317_300_000_000}
    (tmp_path / "model/complexity.json").write_text(json.dumps(content))
    record(difface={"lpips": 0.3}).write(tmp_path)
    assert main(["table=complexity", f"runs={tmp_path}"]) == 0
    (table,) = tables_from_disk("complexity", tmp_path)
    ours = lines(table, shipped_methods()[OURS].name)
    assert ours[MEASURED].values == {"params_m": 979.13, "macs_g": 2317.3}
    difference = lines(table, f"{shipped_methods()[OURS].name} to OSDFace")["difference"]
    assert difference.values["params_m"] == pytest.approx(979.13 - 978.4)
    own = lines(table, "DifFace")
    assert own[MEASURED].values == {"seconds": 0.5} and "difference" not in own
    assert "a machine" in (tmp_path / "table_complexity.md").read_text()
    (tmp_path / "model/complexity.json").write_text('{"params_total": 1}')
    with pytest.raises(UserError, match="params_total and macs_total"):
        tables_from_disk("complexity", tmp_path)


def test_counts_of_another_method_or_size_are_not_taken_for_ours(tmp_path) -> None:
    for number, (method, side, params) in enumerate(
        (
            ("osdface", 512, 979e6),
            ("osediff", 512, 1299e6),
            ("mine", 512, 5e6),
            ("osdface", 64, 8e6),
        )
    ):
        (tmp_path / str(number)).mkdir()
        content = {"method": method, "resolution": side, "params_total": params, "macs_total": 2e12}
        (tmp_path / str(number) / "complexity.json").write_text(json.dumps(content))
    (table,) = tables_from_disk("complexity", tmp_path)
    ours = shipped_methods()[OURS].name
    for name, params in ((ours, 979.0), ("OSEDiff", 1299.0), ("mine", 5.0)):
        assert lines(table, name)[MEASURED].values["params_m"] == params
    difference = lines(table, "OSEDiff")["difference"].values["params_m"]
    assert difference == pytest.approx(1299.0 - 1302)
    assert any(
        "3/complexity.json is left out: it counts pictures of 64 px" in n for n in table.notes
    )


@pytest.mark.parametrize("kind", ["ablation_losses", "ablation_vre"])
def test_an_ablation_beside_the_published_one(kind, tmp_path, capsys) -> None:
    names = ("mse", "full") if kind == "ablation_losses" else ("none", "distinct")
    (tmp_path / "config.yaml").write_text(f"experiment: {kind}\nvariants: [{', '.join(names)}]\n")
    for number, name in enumerate(names):
        (tmp_path / name).mkdir()
        (tmp_path / name / "status.json").write_text('{"status": "finished", "step": 5}')
        (tmp_path / name / "metrics.json").write_text(json.dumps({"psnr": 20.0 + number}))
    assert main([f"table={kind}", f"runs={tmp_path}", f"output_dir={tmp_path / 'tables'}"]) == 0
    text = (tmp_path / f"tables/table_{kind}.md").read_text()
    assert text in capsys.readouterr().out  # published beside ours on the screen too
    assert f"| {names[1]}" in text and "**21.00**" in text
    assert ("no row corresponds to one of ours" in text) == (kind == "ablation_losses")
    assert ("are not in our sources" in text) == (kind == "ablation_vre")
    if kind == "ablation_losses":
        assert "row 5 (published model)" in text and "0.6946" in text
    other = {"ablation_losses": "ablation_vre", "ablation_vre": "ablation_losses"}[kind]
    assert main([f"table={other}", f"runs={tmp_path}"]) == 2
    assert f"of the other kind: table={kind}" in capsys.readouterr().err
