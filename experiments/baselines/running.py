"""One method over one set of pictures: tried on one, timed, run on all, its outputs collected."""

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path

from experiments.baselines.done import fingerprint_of, read_done
from experiments.baselines.methods import Method
from experiments.baselines.pictures import (
    Outputs,
    collect,
    find_outputs,
    stage,
)
from experiments.baselines.process import Finished, run_process
from experiments.baselines.runs import LOG, RECORD, RESTORED, Run, Settings
from osdface.errors import UserError
from osdface.files import write_json
from osdface.picture_reading import PICTURE_SUFFIXES

Tell = Callable[[str], None]


def run_method(
    method: Method, inputs: Mapping[str, Path], folder: Path, settings: Settings, tell: Tell
) -> Run:
    """Runs a method into ``folder``; what is there already by the same settings is kept.

    Files: ``record.json``, ``log.txt`` (all that it said), ``raw/`` (what it wrote), ``restored/``
    (one picture an input, by its stem).
    """
    if reason := method.lacking():
        return Run("absent", reason, wanted=len(inputs))
    fingerprint = fingerprint_of(method, inputs, settings)
    if (before := read_done(folder, fingerprint)) is not None:
        tell(f"{method.key}: done before")
        return before
    _claim(folder)
    run = _run(method, inputs, folder, settings, tell)
    write_json(folder / RECORD, {"fingerprint": fingerprint, "run": asdict(run)})
    return run


def _claim(folder: Path) -> None:
    """Empties a folder that an earlier run of this benchmark made; refuses any other's."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
        raise UserError(f"{folder} holds files that this benchmark did not make: move it away.")
    for name in ("raw", "inputs", RESTORED):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / LOG).unlink(missing_ok=True)
    write_json(folder / RECORD, {"fingerprint": None, "run": None})


def _run(
    method: Method, inputs: Mapping[str, Path], folder: Path, settings: Settings, tell: Tell
) -> Run:
    first = dict([next(iter(inputs.items()))])
    one: Finished | None = None
    rounds = [("one", first), ("one", first)] if settings.timing and len(inputs) > 1 else []
    for number, (name, pictures) in enumerate([*rounds, ("all", dict(inputs))]):
        tell(f"{method.key}: {len(pictures)} picture(s)")
        output = folder / "raw" / f"{name}-{number}"
        output.mkdir(parents=True)
        staged = stage(pictures, folder / "inputs" / name)
        command = method.command_line(staged, output)
        assert method.folder is not None
        log = folder / LOG
        watch = _watcher(method.key, output, len(pictures), tell)
        finished = run_process(
            command, method.folder, log, settings.timeout, foreign=not method.is_ours, watch=watch
        )
        if finished.failure:
            break
        if name == "one":
            one = finished
            if not find_outputs(output / method.outputs, first, method.suffix).good:
                break
    # Of a failure too: how far it came.
    outputs = find_outputs(output / method.outputs, pictures, method.suffix)
    collect(outputs, folder / RESTORED)
    run = _judged(outputs, len(inputs), finished, settings)
    if run.state == "done" and one is not None:
        per_image = (finished.seconds - one.seconds) / (len(inputs) - 1)
        if per_image > 0:  # otherwise loading varies by more than the pictures take
            run.seconds_per_image = per_image
            run.loading_seconds = max(0.0, one.seconds - per_image)
    return run


def _watcher(key: str, output: Path, wanted: int, tell: Tell) -> Callable[[float], None]:
    """Tells how many pictures are there and how long the others will take."""

    def watch(seconds: float) -> None:
        there = sum(path.suffix.lower() in PICTURE_SUFFIXES for path in output.rglob("*"))
        text = f"{key}: {there} of {wanted} pictures, {seconds:.0f} s spent"
        if 0 < there < wanted:  # some methods write more than one file a picture
            text += f", about {seconds / there * (wanted - there):.0f} s left"
        tell(text)

    return watch


def _judged(outputs: Outputs, wanted: int, finished: Finished, settings: Settings) -> Run:
    run = Run("done", "", len(outputs.good), wanted, faults=outputs.faults)
    if finished.failure:
        run.state = "timed out" if finished.timed_out else "crashed"
        run.reason = f"{finished.failure} (wrote {run.images} of {wanted})"
    elif refused := outputs.refused(settings.allow):
        run.state, run.reason = "incomplete", refused
    elif not run.images:
        run.state, run.reason = "incomplete", "no picture that could be compared"
    return run


def given_images(
    folder: Path, suffix: str, inputs: Mapping[str, Path], allow: Collection[str], own: Path
) -> Run:
    """Judges images that a method has made elsewhere, and links those that can be compared.

    Args:
        folder: The images; with or without the method's suffix.
        suffix: What the method puts behind a stem.
        inputs: Stem -> file.
        allow: Kinds of differences that are left out.
        own: The method's folder in the benchmark; ``restored/`` below it gets the links.
    """
    if not folder.is_dir():
        return Run("absent", f"there is no {folder}", wanted=len(inputs))
    outputs = find_outputs(folder, inputs, suffix)
    if suffix and not outputs.good:  # collected ones have lost their suffix already
        outputs = find_outputs(folder, inputs)
    _claim(own)
    collect(outputs, own / RESTORED, link=True)
    run = Run("given", "", len(outputs.good), len(inputs), faults=outputs.faults)
    if refused := outputs.refused(allow):
        run.state, run.reason = "incomplete", refused
    return run
