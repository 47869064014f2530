"""A real Slurm for the tests: munged, slurmctld and slurmd on loopback.

They run in a directory of their own, and are ended by their process ids.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "scontrol")
INSTALL = "apt-get install -y --no-install-recommends slurm-wlm munge"
ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacctmgr")
INSTALL_ACCOUNTING = (
    "apt-get install -y --no-install-recommends slurmdbd slurm-wlm-mysql-plugin mariadb-server"
)
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
CPUS, GPUS, MEMORY = 8, 4, 4096

CONFIGURATION = """
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={node_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MailProg=/bin/true
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={place}/run/munge.socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/run/slurmctld.pid
SlurmdPidFile={place}/run/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=64
PriorityType=priority/basic
KillWait=2
MessageTimeout=6
MinJobAge={keep}
SlurmctldTimeout=30
SlurmdTimeout=60
ReturnToService=2
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} CPUs={cpus} \
Boards=1 SocketsPerBoard=1 CoresPerSocket={cpus} \
ThreadsPerCore=1 RealMemory={memory} Gres=gpu:{gpus} Features=fast State=UNKNOWN
PartitionName=main Nodes=n1 Default=YES MaxTime=INFINITE DefaultTime=10:00 State=UP
PartitionName=short Nodes=n1 MaxTime=30:00 DefaultTime=10:00 State=UP
"""

ACCOUNTING = """
AuthType=auth/munge
AuthInfo=socket={place}/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser={user}
PidFile={place}/run/slurmdbd.pid
CommunicationParameters=NoInAddrAny
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
"""


class SlurmCluster:
    """One node that claims more than the machine has.

    Its controller remembers jobs that have ended for `keep` seconds.
    """

    def __init__(self, place: Path, *, keep: int = 300, accounting: bool = False) -> None:
        self.place = place
        self.configuration = place / "slurm.conf"
        self.accounting = accounting
        self.environment = {
            **os.environ,
            "PATH": SEARCH_PATH,
            "SLURM_CONF": str(self.configuration),
        }
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("munge", "run", "state", "spool", "gpu"):
            (place / name).mkdir()
        (place / "munge").chmod(0o700)
        key = place / "munge" / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        for number in range(GPUS):  # it wants character devices, and looks no closer
            (place / "gpu" / f"nvidia{number}").symlink_to(os.devnull)
        port, node_port, self.dbd_port, self.sql_port = free_ports(4)
        user = subprocess.run(
            ["id", "-un"], capture_output=True, text=True, check=True
        ).stdout.strip()
        host = socket.gethostname().partition(".")[0]
        self.name = f"hypnet{node_port}"
        facts = {
            "name": self.name,
            "place": place,
            "user": user,
            "host": host,
            "port": port,
            "node_port": node_port,
            "keep": keep,
        }
        text = CONFIGURATION.format(**facts, cpus=CPUS, gpus=GPUS, memory=MEMORY)
        if accounting:
            text += (
                "AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
                f"AccountingStoragePort={self.dbd_port}\nAccountingStoragePass={place}/run/munge.socket\n"
            )
            self.password = secrets.token_hex(12)
            path = place / "slurmdbd.conf"
            path.touch(0o600)
            path.write_text(
                ACCOUNTING.format(
                    **facts, dbd_port=self.dbd_port, sql_port=self.sql_port, password=self.password
                )
            )
        self.configuration.write_text(text)
        (place / "gres.conf").write_text(
            f"NodeName=n1 Name=gpu File={place}/gpu/nvidia[0-{GPUS - 1}]\n"
        )
        (place / "cgroup.conf").write_text("CgroupAutomount=no\n")

    def start(self) -> None:
        place = self.place
        self._start(
            *(
                "munged",
                "--foreground",
                f"--key-file={place}/munge/munge.key",
                f"--socket={place}/run/munge.socket",
            ),
            *(
                f"--pid-file={place}/run/munged.pid",
                f"--log-file={place}/munge/log",
                f"--seed-file={place}/munge/seed",
            ),
        )
        self._until("munged", (place / "run" / "munge.socket").exists)
        if self.accounting:
            self._start_accounting()
        self.start_controller()
        self._start("slurmd", "-D", "-N", "n1", "-f", str(self.configuration))
        self._until(
            "slurmd",
            lambda: self.says("sinfo", "-h", "-n", "n1", "-p", "main", "-o", "%t") == "idle",
        )

    def _start_accounting(self) -> None:
        data, script = self.place / "mysql", self.place / "mysql.init.sql"
        script.touch(0o600)
        script.write_text(
            f"CREATE OR REPLACE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{self.password}';\nGRANT"
            " ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';\nGRANT CREATE ON *.* TO"
            " 'slurm'@'127.0.0.1';\n"
        )
        user = subprocess.run(
            ["id", "-un"], capture_output=True, text=True, check=True
        ).stdout.strip()
        subprocess.run(
            [
                *(
                    "mariadb-install-db",
                    "--no-defaults",
                    f"--datadir={data}",
                    f"--user={user}",
                    "--skip-test-db",
                ),
                "--auth-root-authentication-method=normal",
            ],
            env=self.environment,
            capture_output=True,
            check=True,
        )
        self._start(
            *(
                "mariadbd",
                "--no-defaults",
                f"--user={user}",
                f"--datadir={data}",
                f"--socket={self.place}/run/mysql.sock",
            ),
            *(
                f"--pid-file={self.place}/run/mysql.pid",
                "--bind-address=127.0.0.1",
                f"--port={self.sql_port}",
            ),
            *(
                "--skip-name-resolve",
                f"--init-file={script}",
                "--innodb-buffer-pool-size=64M",
                "--innodb-log-file-size=16M",
            ),
            "--innodb-lock-wait-timeout=900",
        )
        self._until("mariadbd", lambda: answers(self.sql_port))
        self._start("slurmdbd", "-D")
        self._until("slurmdbd", lambda: self.says("sacctmgr", "-n", "show", "cluster") is not None)
        self.says("sacctmgr", "-i", "add", "cluster", self.name)

    def start_controller(self) -> None:
        self._start("slurmctld", "-D", "-f", str(self.configuration))
        self._until("slurmctld", lambda: self.says("scontrol", "ping") is not None)

    def stop_controller(self) -> None:
        """End it in good order.

        Killed, it would forget which jobs it had started within the last seconds.
        """
        self._stop("slurmctld")

    def cancel_all(self) -> None:
        for partition in ("main", "short"):
            self.says("scancel", f"--partition={partition}")
        self._until("scancel", lambda: self.says("squeue", "-h") == "")

    def stop(self) -> None:
        if "slurmctld" in self.daemons and self.says("scontrol", "ping") is not None:
            with suppress(AssertionError):
                self.cancel_all()
        for name in reversed(list(self.daemons)):
            self._stop(name)
        # A job's slurmstepd outlives slurmd on purpose.
        mine = f"SLURM_CONF={self.configuration}\0".encode()
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                found = mine in (path / "environ").read_bytes() and int(path.name) != os.getpid()
                if found and (path / "comm").read_text().strip() == "slurmstepd":
                    os.kill(int(path.name), signal.SIGKILL)

    def says(self, *argv: str) -> str | None:
        """The output of a command of Slurm; `None` if it fails."""
        try:
            found = subprocess.run(
                argv, env=self.environment, capture_output=True, text=True, check=False, timeout=20
            )
        except subprocess.TimeoutExpired:
            return None
        return None if found.returncode else found.stdout.strip()

    def _start(self, name: str, *arguments: str) -> None:
        with (self.place / f"{name}.log").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                [name, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _stop(self, name: str) -> None:
        daemon = self.daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _until(self, what: str, ready: Callable[[], bool], seconds: float = 40) -> None:
        end = time.monotonic() + seconds
        while not ready():
            log = self.place / f"{what}.log"
            assert time.monotonic() < end, (
                f"{what} is not ready: {log.read_text()[-2000:] if log.exists() else ''}"
            )
            time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports of loopback, below those that outgoing connections are given."""
    held: list[socket.socket] = []
    while len(held) < count:
        one = socket.socket()
        try:
            one.bind(("127.0.0.1", random.randrange(20000, 30000)))
        except OSError:
            one.close()
        else:
            held.append(one)
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def need(programs: tuple[str, ...], install: str) -> None:
    missing = [name for name in programs if shutil.which(name, path=SEARCH_PATH) is None]
    if missing:
        pytest.skip(f"there is no {missing[0]}; to run this test: {install}")


def running(*, keep: int = 300, accounting: bool = False) -> Iterator[SlurmCluster]:
    """A cluster, started and stopped.

    Its directory is short: sockets have no room for long names.
    """
    with tempfile.TemporaryDirectory(prefix="hypnet-slurm-") as directory:
        place = Path(directory).resolve()
        place.chmod(0o755)
        cluster = SlurmCluster(place, keep=keep, accounting=accounting)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    need(PROGRAMS, INSTALL)
    yield from running()


@pytest.fixture
def slurm(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """A cluster without accounting that is empty, and that Slurm's commands turn to."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_cluster.configuration))
    yield slurm_cluster
    if "slurmctld" not in slurm_cluster.daemons:
        slurm_cluster.start_controller()
    slurm_cluster.cancel_all()


@pytest.fixture
def accounting_slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """A cluster with accounting, whose controller soon forgets jobs that have ended."""
    need((*PROGRAMS, *ACCOUNTING_PROGRAMS), f"{INSTALL}; {INSTALL_ACCOUNTING}")
    for cluster in running(keep=2, accounting=True):
        monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
        yield cluster


@pytest.fixture
def lsf(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The directory of a stand-in for LSF, whose commands are on the PATH."""
    home, programs = tmp_path_factory.mktemp("lsf"), tmp_path_factory.mktemp("lsf-bin")
    for name in ("bsub", "bjobs", "bkill"):
        path = programs / name
        path.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -S "{Path(__file__).with_name("lsf_standin.py")}"'
            f' {name} "$@"\n',
            encoding="utf-8",
        )
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LSF_STANDIN", str(home))
    yield home
    for path in home.glob("*.json"):
        record = json.loads(path.read_text())
        if record["STAT"] == "RUN":
            with suppress(ProcessLookupError):
                os.killpg(int(record["pid"]), signal.SIGKILL)
