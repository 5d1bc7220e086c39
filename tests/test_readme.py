"""README and docs say what is there: snippets run, commands compose, names exist."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import (
    benchmark,
    compare,
    complexity,
    convert,
    demo,
    evaluate,
    export,
    make_shards,
    make_test_set,
    report,
    weights,
)
from experiments.cli.compose import compose_words, keys_of
from experiments.cli.plain import REQUIRED, read_words
from experiments.cli.words import parse_words, to_argv
from experiments.restoring.options import HELP as RESTORING
from experiments.restoring.options import parse_options
from experiments.run import main
from experiments.sweeping.definition import find_file, read_definition
from experiments.sweeping.main import check_trials
from experiments.sweeping.options import KEYS as SWEEPING
from experiments.sweeping.options import read_options

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
# Commands of their own, by the module that is run.
PLAIN = {f"experiments.{each.__name__.rpartition('.')[2]}": each.KEYS for each in (
    benchmark, compare, complexity, convert, demo, evaluate, export, make_shards, make_test_set,
    report, weights,
)}  # fmt: skip
# The pages of commands whose keys other commands have too.
OWN_PAGES = {"weights": "experiments.weights", "adding-a-baseline": "experiments.benchmark",
             "demo": "experiments.demo", "evaluation": "experiments.evaluate",
             "comparing": "experiments.compare"}  # fmt: skip
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
BATCH_SCRIPT = "experiments/slurm/train.sbatch"
# A page may also name a file that a run writes: its name then stands in one of these packages.
WRITERS = ["experiments", "callbacks", "osdface", "datamodules"]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)#:\s]+)\)")
_PLACEHOLDER = re.compile(r"(?<![\w.])[A-Z][A-Z0-9_]*(?![\w.])")
_SHAPE = re.compile(r"^\s*(\w+) = .*#\s*\((\d+(?:, \d+)*)\)", re.M)
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?")
_KEY = re.compile(r"(?:base|vre|losses|scale|data|trainer|logger|slurm(?!\.json))\.[\w.]+")
_WORDS = re.compile(r"[a-z][\w.]*=[^=]+")
_SUFFIXES = (".py", ".md", ".yaml", ".txt", ".cfg", ".csv", ".png", ".json", ".ckpt", ".cff")


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for name, text in _FENCE.findall(page.read_text("utf-8")) if name in languages]


def spans(page: Path) -> list[str]:
    return _SPAN.findall(_FENCE.sub("", page.read_text("utf-8")))


def commands(page: Path) -> Iterator[list[str]]:
    """Every command line of the page's shell blocks, split as a shell does."""
    for block in blocks(page, "bash", "console", "sh"):
        for line in block.splitlines():
            for part in line.removeprefix("$ ").split(" && "):
                if words := shlex.split(part, comments=True):
                    yield words


def make_calls(page: Path) -> list[list[str]]:
    found = [words for words in commands(page) if words[0] == "make"]
    return found + [shlex.split(span) for span in spans(page) if span.startswith("make ")]


def run_words(page: Path) -> list[list[str]]:
    """The words of every ``python -m experiments.run``, of ``make`` and the batch script too."""
    found = []
    for words in commands(page):
        for start in ("experiments.run", BATCH_SCRIPT):
            if start in words:
                given = words[words.index(start) + 1 :]
                # Variables of Slurm's jobs and of loops are numbers.
                found.append([re.sub(r"\$\w+", "2", word) for word in given])
    for call in make_calls(page):
        if "ablation_losses" in call:
            given = [word.removeprefix("ARGS=") for word in call if word.startswith("ARGS=")]
            found.append(["experiment=ablation_losses", *shlex.split(" ".join(given))])
    return [words for words in found if "--help" not in words]


def restore_words(page: Path) -> list[list[str]]:
    """The words of every ``python -m experiments.restore``."""
    found = [words[3:] for words in commands(page) if words[1:3] == ["-m", "experiments.restore"]]
    return [words for words in found if "--help" not in words]


def sweep_words(page: Path) -> list[list[str]]:
    """The words of every ``python -m experiments.sweep``."""
    return [words[3:] for words in commands(page) if words[1:3] == ["-m", "experiments.sweep"]]


def plain_words(page: Path) -> list[list[str]]:
    """The module and words of every plain command."""
    found = [words[2:] for words in commands(page) if words[1:2] == ["-m"] and words[2] in PLAIN]
    for call in make_calls(page):
        if "demo" in call:
            given = " ".join(
                word.removeprefix("ARGS=") for word in call if word.startswith("ARGS=")
            )
            found.append(["experiments.demo", *shlex.split(given)])
    return [words for words in found if "--help" not in words]


def named_paths(page: Path) -> list[str]:
    """What looks like a path in spans, in the first column of text blocks, and in links."""
    found = []
    for name in [*spans(page), *trees(page)]:
        known = name.endswith(("/", *_SUFFIXES)) or ("/" in name and _PATH.fullmatch(name))
        if known and _PATH.fullmatch(name) and not name.startswith("outputs/"):
            found.append(name)
    return sorted(set(found))


def trees(page: Path) -> list[str]:
    """The first words of text blocks that list folders."""
    lines = [line for block in blocks(page, "text") for line in block.splitlines()]
    return [line.split()[0] for line in lines if re.match(r"(?!output_dir)[\w/]+/\s", line)]


def cases(collect: Callable[[Path], list[Any]]) -> list[Any]:
    """One pytest case for each thing that ``collect`` finds on a page."""
    found = [(page, each) for page in PAGES for each in collect(page)]
    assert found
    return [
        pytest.param(
            page, each, id=f"{page.stem}: {each if type(each) is str else shlex.join(each)}"
        )
        for page, each in found
    ]


@pytest.fixture(scope="module")
def written() -> str:
    """All that our sources say, where a written file's name must stand."""
    files = [file for folder in WRITERS for file in (ROOT / folder).rglob("*.py")]
    return "\n".join(file.read_text("utf-8") for file in files)


def filled_in(word: str, folder: Path) -> str:
    """Replaces words in capitals by a folder; the path that comes of it exists."""
    key, _, text = word.partition("=")
    if not _PLACEHOLDER.search(text):
        return word
    path = _PLACEHOLDER.sub(str(folder), text)
    Path(path).mkdir(parents=True, exist_ok=True)
    return f"{key}={path}"


def others(owner: dict[str, Any], given: set[str]) -> list[str]:
    """Words for the required keys of a plain command that are not given."""
    wanted = {k: v for k, v in owner.items() if v.default is REQUIRED and k not in given}
    return [f"{key}={value.choices[0] if value.choices else 'x'}" for key, value in wanted.items()]


@pytest.mark.parametrize(("page", "words"), cases(run_words))
def test_command_composes(page, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [filled_in(word, tmp_path / "given") for word in words]
    status = main([*words, "--config"])
    output = capsys.readouterr()
    assert status == 0, output.err
    assert "experiment:" in output.out


@pytest.mark.parametrize(("page", "words"), cases(sweep_words))
def test_sweep_composes(page, words, tmp_path):
    options = read_options([filled_in(word, tmp_path / "given") for word in words])
    check_trials(read_definition(find_file(options["sweep"])), options, 2)


@pytest.mark.parametrize(("page", "words"), cases(restore_words))
def test_restoring_command_is_understood(page, words):
    parse_options(words)


def test_every_module_in_a_command_exists():
    called = {w[2] for page in PAGES for w in commands(page) if w[1:2] == ["-m"]}
    known = {"experiments.run", "experiments.restore", "experiments.sweep", *PLAIN}
    benchmarks = {f"benchmarks.{path.stem}" for path in (ROOT / "benchmarks").glob("*.py")}
    assert called - known - benchmarks - {"venv"} == set()


@pytest.mark.parametrize(("page", "words"), cases(plain_words))
def test_plain_command_is_understood(page, words):
    read_words(words[1:], PLAIN[words[0]])


def test_a_wrong_key_in_a_command_is_noticed(tmp_path, capsys):
    words = next(words for words in run_words(README) if "data=folder" in words)
    words = [filled_in(word, tmp_path) for word in words]
    assert main([*words, "data.rot=x", "--config"]) == 2
    assert "data.root" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("page", "text"), cases(lambda page: [each for each in spans(page) if _WORDS.fullmatch(each)])
)
def test_named_key_takes_the_named_value(page, text, tmp_path):
    words = [filled_in(word, tmp_path) for word in shlex.split(text)]
    keys = {word.partition("=")[0] for word in words}
    if page.stem == "export" and keys <= export.KEYS.keys():
        read_words([*words, *others(export.KEYS, keys)], export.KEYS)
        return
    if page.stem in ("restoring", "export") and keys <= RESTORING.keys():
        given = {"input": "x", "output": "y", "checkpoint": "tiny"}
        whole = {"aligned": "true"} if words[0].startswith("original_size") else {}
        parse_options(to_argv(given | whole | parse_words(words)))
        return
    if page.stem == "sweeps" and keys <= SWEEPING.keys():
        read_words([*words, *others(SWEEPING, keys)], SWEEPING)
        return
    key = words[0].partition("=")[0]
    names = [OWN_PAGES[page.stem]] if page.stem in OWN_PAGES else [
        name for name in PLAIN if name not in OWN_PAGES.values() and key != "seed"
    ]  # fmt: skip
    if owner := next((PLAIN[name] for name in names if key in PLAIN[name]), None):
        read_words([*words, *others(owner, {key})], owner)
        return
    launcher = ["launcher=slurm"] if key.startswith("slurm.") else []
    data = ["data=folder"] if key in ("data.root", "data.identity_from") else []
    data = ["data=shards", "data.urls=x"] if key in ("data.urls", "data.target") else data
    compose_words(parse_words(["experiment=ablation_losses", *launcher, *data, *words]))


@pytest.mark.parametrize(
    ("page", "key"), cases(lambda page: [each for each in spans(page) if _KEY.fullmatch(each)])
)
def test_named_key_exists(page, key):
    groups = ({"data": "folder"}, {"data": "shards", "launcher": "slurm"})
    assert any(key in keys_of(compose_words(chosen)[0]) for chosen in groups)


@pytest.mark.parametrize(("page", "call"), cases(make_calls))
def test_make_target_exists(page, call):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = [word for word in call[1:] if "=" not in word]
    assert targets
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", makefile, re.M), target
    for variable in {word.partition("=")[0] for word in call[1:] if "=" in word}:
        assert re.search(rf"^{re.escape(variable)} *\?=", makefile, re.M), variable


@pytest.mark.parametrize(("page", "name"), cases(named_paths))
def test_named_path_exists_or_is_written_by_a_run(page, name, written):
    parts = name.rstrip("/").split("/")
    if (ROOT / name).exists():
        return
    # A file named beside its neighbours without its folder.
    if len(parts) == 1 and any((ROOT / "experiments").glob(f"*/{name}")):
        return
    if len(parts) == 1 and any((ROOT / "experiments/conf").glob(f"*/{name}")):
        return
    assert all(f'{part}"' in written for part in parts)


@pytest.mark.parametrize(
    ("page", "target"), cases(lambda page: _LINK.findall(page.read_text("utf-8")))
)
def test_link_leads_somewhere(page, target):
    assert (page.parent / target).exists()


def test_readme_is_short_and_says_what_a_restored_face_is_not():
    text = README.read_text("utf-8")
    assert len(text.splitlines()) < 200
    assert "an estimate, not evidence" in text


def test_snippets_of_the_pages_run():
    for page in PAGES[1:]:
        names: dict[str, Any] = {}
        for number, text in enumerate(blocks(page, "python"), 1):
            exec(compile(text, f"{page.name} snippet {number}", "exec"), names)
            check_shapes(text, names)


def test_snippets_run_and_their_shapes_are_right(tmp_path):
    first, *others = blocks(README, "python")
    names: dict[str, Any] = {}
    exec(compile(first, "README snippet 1", "exec"), names)
    check_shapes(first, names)
    save_export(tmp_path / "full" / "export", names)
    for number, text in enumerate(others, 2):
        text = text.replace('"RUN/', f'"{tmp_path}/')
        exec(compile(text, f"README snippet {number}", "exec"), names)
        check_shapes(text, names)


def save_export(folder: Path, names: dict[str, Any]) -> None:
    """Writes what a run would, from the first snippet's parts and a fresh LoRA."""
    from osdface.checkpoints.export import save_restorer
    from osdface.networks.base import load_base
    from osdface.networks.generator import OneStepGenerator
    from osdface.networks.lora import DEFAULT_TARGETS, add_lora
    from osdface.paths import assets_dir

    lora = {"rank": 2, "alpha": 2, "targets": list(DEFAULT_TARGETS)}
    base = load_base(assets_dir() / "base")
    add_lora(base.unet, **lora)
    generator = OneStepGenerator(base, names["generator"].prompt_source)
    save_restorer(folder, generator, lora, {"path": "shipped:base", "fingerprint": ""})


def check_shapes(text: str, names: dict[str, Any]) -> None:
    """Compares ``name = ...  # (1, 3, 64, 64)`` with what came of it, where it is set once."""
    found = [name for name, _ in _SHAPE.findall(text)]
    for name, shape in _SHAPE.findall(text):
        if found.count(name) == 1:
            assert tuple(names[name].shape) == tuple(map(int, shape.split(", "))), name
