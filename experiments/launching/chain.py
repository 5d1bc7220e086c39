"""Jobs that wait for one another: what sbatch is told, and how a plan is printed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

# A job's name, the jobs it waits for with the kind of waiting (afterok, afterany), and its script.
Link = tuple[str, Mapping[str, str], str]


def dependency(
    waits: Mapping[str, str], numbers: Mapping[str, Sequence[str]], after: str | None
) -> str | None:
    """Returns what a job waits for, as sbatch takes it; None for nothing.

    Args:
        waits: Names of jobs of the plan with the kind of waiting.
        numbers: Slurm's numbers of the jobs that are submitted; the others are finished.
        after: ``slurm.after``, a job of the user's own.
    """
    parts = [f"{kind}:{':'.join(numbers[name])}" for name, kind in waits.items()
             if numbers.get(name)]  # fmt: skip
    # What waits for another job of the plan waits for its dependencies by that.
    if after and not parts:
        parts = [f"afterok:{after}"]
    return ",".join(parts) or None


def dry_run(links: Sequence[Link], what: str, folder: Path, after: str | None) -> str:
    """Returns the scripts of a plan with their dependencies, for ``slurm.dry_run=true``.

    Args:
        links: In the order of submission.
        what: Whose folder it is, such as "run".
        folder: Where it would be.
        after: ``slurm.after``.
    """
    if not links:
        return f"Nothing is left to submit: {folder} is finished."
    numbers = {name: [f"NUMBER_OF_{name.upper()}"] for name, _, _ in links}
    texts = []
    for name, waits, text in links:
        own = dependency(waits, numbers, after)
        option = f" --dependency={own} --kill-on-invalid-dep=yes" if own else ""
        texts.append(f"##### {name}: sbatch{option}\n{text}")
    texts.append(f"##### Nothing was written or submitted; the {what}'s folder would be\n{folder}")
    return "\n".join(texts)
