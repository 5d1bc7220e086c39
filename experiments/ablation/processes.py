"""One part of the ablation in a process of its own, in single-run mode.

Lightning's DDP starts its further processes by repeating the command line: in the sweep's own
process that would start the sweep again. The same words are what a batch system's jobs run.
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from experiments.cli.lock import is_held
from experiments.cli.parent import name_parent
from experiments.cli.signals import Interrupted, interruption_of
from experiments.cli.words import to_argv
from osdface.run_folder import read_status, update_status

_PATIENCE_S = 30


def part_words(
    words: Mapping[str, str], output_dir: Path, part: str, job: tuple[str, int] | None = None
) -> dict[str, str]:
    """Returns the words that run one part of the ablation whose words are ``words``.

    Args:
        words: The user's words.
        output_dir: The ablation's folder, absolute.
        part: ``prepare``, ``variant`` or ``gather``.
        job: Variant and seed, for ``variant``.
    """
    found = {key: text for key, text in words.items() if key != "resume"}
    found |= {"output_dir": str(output_dir), "part": part}
    return found | ({"variant": job[0], "seed": str(job[1])} if job else {})


def run_words(words: Mapping[str, str]) -> int:
    """Runs the command line in a new process with this one's terminal; returns its exit status.

    Raises:
        Interrupted: A signal came, to this process or to that one, which has saved and ended.
    """
    command = [sys.executable, "-m", "experiments.run", *to_argv(words)]
    sys.stdout.flush()
    name_parent()
    with subprocess.Popen(command) as process:
        try:
            status = process.wait()
        except Interrupted as interruption:
            # Sent to this process alone, or to that one as well, which then makes no difference.
            process.send_signal(interruption.number)
            # It saves at the end of its step, however long that takes, and sees to a requeue.
            interruption.requeued = interruption_of(process.wait()) is not None
            raise
        except BaseException:
            # Ctrl-C has reached that process as well: it saves and stops its own ranks first.
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    if number := interruption_of(status):
        raise Interrupted(number, requeued=True)
    return status


def run_variant_apart(words: Mapping[str, str], folder: Path) -> bool:
    """Trains one variant in a process of its own; returns False if it failed."""
    code = run_words(words)
    status = read_status(folder).get("status")
    if code == 0 and status == "finished":
        return True
    if status != "failed" and not is_held(folder):
        # Killed, or ended before it could keep its books; who holds it now keeps its own.
        update_status(folder, status="failed", reason=f"its process ended with exit status {code}")
    return False
