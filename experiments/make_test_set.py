"""Makes a fixed test set: ``python -m experiments.make_test_set source=DIR output=DIR``."""

import os
import sys
from pathlib import Path
from typing import Any

from experiments.cli.plain import REQUIRED, Key, run_plain
from osdface.errors import UserError

KEYS = {
    "source": Key(REQUIRED, "folder of pictures; those in sub-folders count too"),
    "output": Key(REQUIRED, "folder that is made, with hq/, lq/ and manifest.json"),
    "preset": Key("daefr_final", "degradation, a name in osdface/degradation/presets.py"),
    "degradation": Key(None, "YAML file with keys as below data.degradation, in place of preset"),
    "strength_scale": Key(1.0, "multiplies blur and down-sampling: 1 at 512 px"),
    "seed": Key(0, "of the degradations"),
    "resolution": Key(512, "side of the pictures in pixels; Lanczos, central square"),
    "workers": Key(os.cpu_count() or 1, "processes; the result does not depend on them"),
}
HEAD = """\
usage: python -m experiments.make_test_set source=DIR output=DIR [key=value ...]

Writes hq/KEY.png, lq/KEY.png and manifest.json with the degradation parameters and checksums of
each picture. The same command gives the same bytes, with any number of workers."""


def work(values: dict[str, Any]) -> list[str]:
    """Makes the test set; returns the closing lines."""
    from experiments.data_tools.test_sets import TestSetSettings, make_test_set

    for name, low, high in (("resolution", 8, 8192), ("workers", 1, 1024), ("seed", 0, 2**63)):
        if not low <= values[name] <= high:
            raise UserError(f"{name}={values[name]} is wrong: give {low} to {high}.")
    values["degradation"] = _settings(values["degradation"])
    places = {name: Path(values.pop(name)) for name in ("source", "output")}
    manifest = make_test_set(TestSetSettings(**places, **values))
    lines = [f"{manifest['count']} pairs, left out {len(manifest['left_out'])}"]
    lines += [f"  {name}: {reason}" for name, reason in manifest["left_out"][:5]]
    return [*lines, str(places["output"])]


def _settings(path: str | None) -> dict[str, Any] | None:
    """Reads the file of own degradation settings."""
    if path is None:
        return None
    import yaml

    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or "it is no YAML"
        raise UserError(f"degradation={path} cannot be read ({reason}).") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise UserError(f"degradation={path} holds no keys: give, for example, 'preset: waveface'.")
    return found


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    return run_plain(argv, HEAD, KEYS, work)


if __name__ == "__main__":
    sys.exit(main())
