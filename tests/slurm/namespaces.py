"""A Slurm with one network namespace a node, on a bridge to the controller."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.slurm.conftest import NODES, Cluster

# One test run at a time on a machine: names are taken or not.
BRIDGE, NETWORK = "osdbr0", "10.213.77"


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, timeout=30)


def unable() -> str | None:
    """Why there can be no network namespaces here, None if there can."""
    for program in ("ip", "unshare"):
        if not shutil.which(program):
            return f"network namespaces need the program {program}"
    if _ip("link", "show", BRIDGE).returncode == 0:
        return f"another test run uses the network bridge {BRIDGE}"
    probe = _ip("link", "add", BRIDGE, "type", "bridge")
    if probe.returncode != 0:
        return f"no network bridge can be made here: {probe.stderr.strip()}"
    _ip("link", "del", BRIDGE)
    return None


class ClusterApart(Cluster):
    """Two nodes that can crash, and whose network can be cut and joined again."""

    address = f"{NETWORK}.254"
    # A node that does not answer for ten seconds is down, and its jobs are put back.
    more_config = "SlurmdTimeout=10\nSlurmctldTimeout=10\nMessageTimeout=5\n"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # Host names of the nodes are known to nobody: addresses, and the interface for gloo.
        self.environment |= {"MASTER_ADDR": self.node_address(NODES[0]),
                             "GLOO_SOCKET_IFNAME": "eth0"}  # fmt: skip

    @staticmethod
    def node_address(node: str) -> str:
        return f"{NETWORK}.{1 + NODES.index(node)}"

    def start(self) -> None:
        steps = [["link", "add", BRIDGE, "type", "bridge"],
                 ["addr", "add", f"{self.address}/24", "dev", BRIDGE],
                 ["link", "set", BRIDGE, "up"]]  # fmt: skip
        for node in NODES:
            inside = ["-n", node]
            steps += [
                ["netns", "add", node],
                ["link", "add", f"v{node}", "type", "veth", "peer", "name", "eth0", "netns", node],
                ["link", "set", f"v{node}", "master", BRIDGE, "up"],
                [*inside, "addr", "add", f"{self.node_address(node)}/24", "dev", "eth0"],
                [*inside, "link", "set", "eth0", "up"],
                [*inside, "link", "set", "lo", "up"],
            ]
        for step in steps:
            done = _ip(*step)
            assert done.returncode == 0, (step, done.stderr)
        super().start()

    def place(self, node: str) -> str:
        return f"NodeAddr={self.node_address(node)}"

    def slurmd(self, node: str) -> list[str]:
        named = ["unshare", "--uts", "sh", "-c", f"hostname {node} && exec slurmd -N {node}"]
        return ["ip", "netns", "exec", node, *named]

    def processes(self, node: str) -> list[int]:
        """The processes of a node, daemon and jobs."""
        return [int(each) for each in _ip("netns", "pids", node).stdout.split()]

    def crash(self, node: str) -> None:
        """Takes the power: all processes of the node are gone, and no connection is closed."""
        self.cut(node)
        self.end_processes(node)

    def end_processes(self, node: str) -> None:
        for number in self.processes(node):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def boot(self, node: str) -> None:
        self.join(node)
        done = self.run(*self.slurmd(node))
        assert done.returncode == 0, done.stderr

    def cut(self, node: str) -> None:
        assert _ip("link", "set", f"v{node}", "down").returncode == 0

    def join(self, node: str) -> None:
        assert _ip("link", "set", f"v{node}", "up").returncode == 0

    def stop(self) -> None:
        for node in NODES:
            _ip("link", "set", f"v{node}", "up")
        super().stop()
        for node in NODES:
            self.end_processes(node)
            _ip("netns", "del", node)
        _ip("link", "del", BRIDGE)
