"""Slurm's commands as stand-ins: scripts on PATH that write down what they were called with."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

SBATCH = """\
#!/bin/sh
# Numbers jobs from 101 on and keeps script and options of each; the line REFUSED names one it takes
# for wrong.
number=$((100 + $(ls "$STAND_IN_FOLDER" | grep -c '[.]options$') + 1))
cat > "$STAND_IN_FOLDER/script"
if [ -f "$STAND_IN_FOLDER/refused" ] && \\
   grep -q -- "--job-name=$(cat "$STAND_IN_FOLDER/refused")" "$STAND_IN_FOLDER/script"; then
    echo "sbatch: error: invalid partition specified: nowhere" >&2
    echo "sbatch: error: Batch job submission failed: Invalid partition name specified" >&2
    exit 1
fi
mv "$STAND_IN_FOLDER/script" "$STAND_IN_FOLDER/$number.sh"
printf '%s\\n' "$@" > "$STAND_IN_FOLDER/$number.options"
env > "$STAND_IN_FOLDER/$number.environment"
echo "$number"
"""
SQUEUE = '#!/bin/sh\ncat "$STAND_IN_FOLDER/queue"\n'
# The words that the command would get, each ended by a NUL.
SRUN = """#!/bin/sh\nprintf '%s\\0' "$@" > "$STAND_IN_FOLDER/words"\n"""


@dataclass
class Slurm:
    """What the stand-ins keep and answer."""

    folder: Path

    def jobs(self) -> dict[str, str]:
        """The batch scripts by number."""
        return {file.stem: file.read_text() for file in sorted(self.folder.glob("*.sh"))}

    def options(self, number: str) -> list[str]:
        return (self.folder / f"{number}.options").read_text().splitlines()

    def environment(self, number: str) -> str:
        return (self.folder / f"{number}.environment").read_text()

    def refuse(self, name: str | None) -> None:
        (self.folder / "refused").unlink(missing_ok=True)
        if name:
            (self.folder / "refused").write_text(name)

    def queue(self, *lines: str) -> None:
        (self.folder / "queue").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """A Slurm with an empty queue, in an empty working folder, outside any job."""
    programs, kept, work = (tmp_path / name for name in ("bin", "kept", "work"))
    for folder in (programs, kept, work):
        folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", SRUN)):
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    for name in [*os.environ]:
        if name.startswith("SLURM") or name in ("RANK", "LOCAL_RANK", "NODE_RANK"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_FOLDER", str(kept))
    monkeypatch.chdir(work)
    slurm = Slurm(kept)
    slurm.queue()
    return slurm
