"""A Slurm of two nodes on this machine: munge, a controller and two slurmd, all our own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "sinfo", "scancel")
NODES = ("osd1", "osd2")

CONFIG = """
ClusterName=test
SlurmctldHost={host}({address})
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,sched_min_interval=0,batch_sched_delay=0
ReturnToService=2
KillWait=20
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
"""


def missing() -> str | None:
    """Why no Slurm can be started here, None if it can."""
    if os.geteuid() != 0:
        return "starting Slurm's daemons needs root"
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    return f"not installed (slurmctld, slurmd, slurm-client, munge): {absent}" if absent else None


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """Commands of one local Slurm; its daemons are ended by the numbers in their pid files."""

    address = "127.0.0.1"
    more_config = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("SLURM")},
            "SLURM_CONF": str(folder / "slurm.conf"),
            # The nodes' names are known to this Slurm alone.
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_ports(1)[0]),
            "OSDFACE_ENV": f"export PATH={Path(sys.executable).parent}:$PATH",
        }

    def run(self, *command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, command)),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            **options,  # type: ignore[call-overload]
        )

    def start(self) -> None:
        for name in ("munge", "state", "log", "run", *(f"spool.{node}" for node in NODES)):
            (self.folder / name).mkdir()
        # munged refuses a key that others may read.
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        port, *ports = free_ports(1 + len(NODES))
        host = socket.gethostname()
        text = CONFIG.format(host=host, address=self.address, port=port, folder=self.folder)
        text += self.more_config
        for node, own in zip(NODES, ports, strict=True):
            text += f"NodeName={node} {self.place(node)} Port={own} CPUs=4\n"
        text += f"PartitionName=main Nodes={','.join(NODES)} Default=YES\n"
        # Its jobs take the nodes from those of the other partition.
        text += f"PartitionName=high Nodes={','.join(NODES)} PriorityTier=10 PreemptMode=OFF\n"
        (self.folder / "slurm.conf").write_text(text)
        # Else slurmd looks for the machine's cgroups.
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        munge = [f"--{name}={self.folder}/munge/{file}" for name, file in
                 (("key-file", "key"), ("socket", "socket"), ("pid-file", "munged.pid"),
                  ("log-file", "log"), ("seed-file", "seed"))]  # fmt: skip
        for command in (["munged", "--force", *munge], ["slurmctld", "-c"],
                        *map(self.slurmd, NODES)):  # fmt: skip
            done = self.run(*command)
            assert done.returncode == 0, done.stderr
        self.wait_for_nodes()

    def place(self, node: str) -> str:
        """Where a node is, for slurm.conf."""
        return f"NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1"

    def slurmd(self, node: str) -> list[str]:
        """The command that starts a node."""
        return ["slurmd", "-N", node]

    def wait_for_nodes(self, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while self.run(
            "sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%N"
        ).stdout.split() != [*NODES]:
            assert time.monotonic() < end, self.run("sinfo", "-R").stdout
            time.sleep(0.2)

    def submit(self, *words: str | Path) -> int:
        done = self.run("sbatch", "--parsable", *words)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def wait(self, job: int, seconds: float) -> str:
        """Returns the state that a job ended in, such as COMPLETED."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            shown = self.run("scontrol", "show", "job", "--oneliner", str(job)).stdout
            state = next(w for w in shown.split() if w.startswith("JobState=")).partition("=")[2]
            if state not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
                return state
            time.sleep(0.5)
        return "TIMEOUT OF THE TEST"

    def stop(self) -> None:
        # A controller that never came up does not answer: its daemons are ended all the same.
        with suppress(subprocess.TimeoutExpired):
            self._end_jobs()
        files = [*self.folder.glob("run/*.pid"), self.folder / "munge" / "munged.pid"]
        numbers = [int(file.read_text()) for file in files if file.is_file()]
        for kill, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0)):
            for number in filter(alive, numbers):
                os.kill(number, kill)
            end = time.monotonic() + patience
            while any(map(alive, numbers)) and time.monotonic() < end:
                time.sleep(0.1)

    def _end_jobs(self) -> None:
        jobs = self.run("squeue", "-h", "-o", "%A").stdout.split()
        if jobs:
            self.run("scancel", "--full", "-s", "KILL", *jobs)
            end = time.monotonic() + 15
            while self.run("squeue", "-h").stdout.strip() and time.monotonic() < end:
                time.sleep(0.3)


def alive(number: int) -> bool:
    """False for a zombie too, which waits for a slow init."""
    try:
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return False


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if reason := missing():
        pytest.skip(reason)
    # Not below pytest's folder: a socket's path has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    own = Cluster(folder)
    try:
        try:
            own.start()
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            logs = "".join(log.read_text()[-500:] for log in folder.glob("log/*.log"))
            pytest.skip(f"Slurm's daemons do not come up on this machine: {error} {logs}")
        yield own
    finally:
        own.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def apart() -> Iterator[Cluster]:
    """A Slurm whose nodes have a network of their own each: one can crash or be cut off."""
    from tests.slurm.namespaces import ClusterApart, unable

    if reason := missing() or unable():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    own = ClusterApart(folder)
    try:
        own.start()
        yield own
    finally:
        own.stop()
        shutil.rmtree(folder, ignore_errors=True)
