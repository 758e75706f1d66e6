"""A real Slurm on this computer: python -m tests.slurm.cluster starts one, and ends it with Ctrl-C.

munge, MariaDB, slurmdbd, slurmctld and four slurmd, all in a folder of their own and on ports of their own; nothing
of it is left when it ends. Debian's packages: slurm-wlm slurmdbd munge mariadb-server.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path

NODES = 4
PATIENCE_S = 120.0
SBIN = "/usr/sbin"
SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket,cred_expire=10
SlurmctldPort={ports[0]}
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd-%n.pid
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool/%n
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
JobRequeue=1
EnforcePartLimits=ALL
SlurmdParameters=config_overrides
ReturnToService=2
MessageTimeout={message_timeout}
KillWait=5
MinJobAge={min_job_age}
InactiveLimit=0
SlurmdTimeout=300
SlurmctldTimeout=60
PriorityType=priority/basic
{accounting}
{nodes}
PartitionName=main Nodes=n[1-{count}] Default=YES MaxTime=UNLIMITED PriorityTier=1 OverSubscribe=NO
PartitionName=short Nodes=n[1-{count}] MaxTime=00:02:00 PriorityTier=1 OverSubscribe=NO
PartitionName=urgent Nodes=n[1-{count}] MaxTime=UNLIMITED PriorityTier=10 OverSubscribe=NO
"""
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={port}
AccountingStoragePass={home}/munge/socket
AccountingStorageEnforce=associations,limits,qos
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
DbdHost=localhost
DbdPort={port}
SlurmUser={user}
PidFile={home}/slurmdbd.pid
LogFile={home}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StorageLoc=slurm_acct
"""


def free_ports(count: int) -> list[int]:
    """Find ports of this computer that nobody has."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass
class Cluster:
    """A running cluster; `env` is what its clients need."""

    home: Path
    accounting: bool = True
    nodes: int = NODES
    cpus: int = 4
    min_job_age_s: int = 300
    message_timeout_s: int = 10
    programs: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: list[int] = field(default_factory=list)

    @property
    def env(self) -> Mapping[str, str]:
        """The variables that lead Slurm's clients here."""
        return {"SLURM_CONF": str(self.home / "slurm.conf")}

    @property
    def _environment(self) -> dict[str, str]:
        more = {"MYSQL_UNIX_PORT": str(self.home / "db.sock")}
        return {**os.environ, **self.env, **more}

    # What is asked of it

    def run(self, *command: str, timeout_s: float = 60.0, check: bool = True) -> str:
        """Run a client and return what it prints."""
        ran = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check and ran.returncode:
            raise RuntimeError(f"{' '.join(command)}: {ran.stdout}{ran.stderr}")
        return ran.stdout

    def states(self) -> dict[str, str]:
        """Say how each job stands, by name, as far as the controller knows."""
        lines = self.run("squeue", "--noheader", "--states=all", "--format=%j|%T").splitlines()
        return dict(line.rsplit("|", 1) for line in lines)

    # Its parts

    def start(self) -> None:
        """Start everything, and wait until it takes jobs."""
        self.ports = free_ports(2 + self.nodes)
        self._configure()
        self._start_munge()
        if self.accounting:
            self._start_database()
            self.start_part("slurmdbd")
            self._await(self._accounting_answers, "slurmdbd")
            self._add_account()
        self.start_part("slurmctld")
        self._await(lambda: "UP" in self.run("scontrol", "ping", check=False), "slurmctld")
        for number in range(1, self.nodes + 1):
            self.start_part(f"n{number}")
        self._await(self._is_idle, "slurmd")

    def _is_idle(self) -> bool:
        states = self.run("sinfo", "--noheader", "--Node", "--format=%T", check=False).split()
        return bool(states) and all(state == "idle" for state in states)

    def _configure(self) -> None:
        host, user = socket.gethostname().split(".")[0], getuser()
        for name in ("munge", "state", "spool"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        (self.home / "munge").chmod(0o755)
        memory = 2000 * self.cpus
        nodes = "\n".join(
            f"NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={self.ports[1 + number]}"
            f" CPUs={self.cpus} RealMemory={memory} State=UNKNOWN"
            for number in range(1, self.nodes + 1)
        )
        accounting = ACCOUNTING.format(port=self.ports[1], home=self.home) if self.accounting else ""
        values = {"home": self.home, "user": user, "host": host, "ports": self.ports, "count": self.nodes}
        times = {"min_job_age": self.min_job_age_s, "message_timeout": self.message_timeout_s}
        (self.home / "slurm.conf").write_text(
            SLURM_CONF.format(nodes=nodes, accounting=accounting, **times, **values),
        )
        database = self.home / "slurmdbd.conf"
        database.write_text(SLURMDBD_CONF.format(port=self.ports[1], **values))
        database.chmod(0o600)

    def _start_munge(self) -> None:
        folder = self.home / "munge"
        key = folder / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        paths = {name: folder / name for name in ("socket", "log", "pid", "seed")}
        options = (
            *(f"--key-file={key}", f"--socket={paths['socket']}", f"--log-file={paths['log']}"),
            *(f"--pid-file={paths['pid']}", f"--seed-file={paths['seed']}", "--force", "--foreground"),
        )
        self._spawn("munged", f"{SBIN}/munged", *options)
        self._await(paths["socket"].exists, "munged")

    def _start_database(self) -> None:
        data, user, temporary = self.home / "db", getuser(), self.home / "tmp"
        temporary.mkdir()  # two servers that begin at once remove each other's temporary tables
        options: tuple[str, ...] = ("--no-defaults", f"--datadir={data}", f"--user={user}")
        subprocess.run(
            ("mariadb-install-db", *options, "--auth-root-authentication-method=socket"),
            check=True,
            capture_output=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        options = (*options, f"--tmpdir={temporary}")
        self._spawn(
            *("mariadbd", f"{SBIN}/mariadbd", *options, f"--socket={self.home / 'db.sock'}", "--skip-networking"),
            *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=0"),
        )
        socket_path = self.home / "db.sock"
        self._await(lambda: self._sql("select 1", socket_path), "mariadbd")

    def _sql(self, statement: str, socket_path: Path) -> bool:
        command = ("mariadb", "--no-defaults", f"--socket={socket_path}", "-e", statement)
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _accounting_answers(self) -> bool:
        command = ("sacctmgr", "--noheader", "show", "cluster")
        return subprocess.run(command, env=self._environment, capture_output=True, check=False).returncode == 0

    def _add_account(self) -> None:
        manage = ("sacctmgr", "--immediate")
        self.run(*manage, "add", "cluster", "test", check=False)
        self.run(*manage, "add", "account", "lab", "description=lab", "organization=lab")
        self.run(*manage, "add", "user", getuser(), "account=lab", check=False)
        self.run(*manage, "modify", "user", getuser(), "set", "defaultaccount=lab", check=False)

    def start_part(self, name: str) -> None:
        """Start a daemon: slurmctld, slurmdbd, or a node."""
        if name.startswith("slurm"):
            self._spawn(name, f"{SBIN}/{name}", "-D")
        else:
            (self.home / "spool" / name).mkdir(parents=True, exist_ok=True)
            self._spawn(name, f"{SBIN}/slurmd", "-D", "-N", name)

    def stop_part(self, name: str, number: int = signal.SIGTERM) -> None:
        """End a daemon and wait until it is gone."""
        program = self.programs.pop(name)
        program.send_signal(number)
        try:
            program.wait(timeout=20)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()

    def _spawn(self, name: str, *command: str) -> None:
        with (self.home / f"{name}.out").open("ab") as log:
            self.programs[name] = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _await(self, holds: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not holds():
            if time.monotonic() > end:
                logs = "\n".join(path.read_text()[-2000:] for path in sorted(self.home.glob(f"{what}*.*")))
                raise TimeoutError(f"{what} does not start: {logs}")
            time.sleep(0.1)

    def clear(self) -> None:
        """End all jobs, bring back what was stopped, and wait until the nodes are free again."""
        for name in self.parts():
            if name not in self.programs:
                self.start_part(name)
        self._await(lambda: "UP" in self.run("scontrol", "ping", check=False), "slurmctld")
        self.run("scontrol", "update", f"nodename=n[1-{self.nodes}]", "state=resume", check=False)
        self.run("scancel", "--quiet", f"--user={getuser()}", check=False)
        self._await(lambda: not self.run("squeue", "--noheader"), "its jobs' end")
        self._await(self._is_idle, "slurmd")

    def parts(self) -> list[str]:
        """List the daemons that may be stopped and started again."""
        return [*(["slurmdbd"] if self.accounting else []), "slurmctld", *(f"n{n}" for n in range(1, self.nodes + 1))]

    def stop(self) -> None:
        """End everything that belongs to it, jobs too."""
        with suppress(Exception):
            self.run("scancel", "--quiet", f"--user={getuser()}", timeout_s=10, check=False)
        names = sorted(
            self.programs,
            key=lambda name: ("n", "slurmctld", "slurmdbd", "mariadbd", "munged").index(
                "n" if name[0] == "n" else name
            ),
        )
        for name in names:
            self.stop_part(name)
        for pid in self._left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _left(self) -> Iterator[int]:
        """Find what its nodes have started, and left behind."""
        marks = {f"SLURM_CONF={self.home / 'slurm.conf'}".encode(), b"SLURM_CLUSTER_NAME=test"}  # both: a job's own
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if marks <= {*(folder / "environ").read_bytes().split(b"\0")}:
                    yield int(folder.name)


@contextmanager
def cluster(*, accounting: bool = True, min_job_age_s: int = 300, message_timeout_s: int = 10) -> Iterator[Cluster]:
    """Have a cluster for a while; with a short `min_job_age_s` its controller soon forgets finished jobs."""
    home = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    home.chmod(0o755)
    made = Cluster(home, accounting=accounting, min_job_age_s=min_job_age_s, message_timeout_s=message_timeout_s)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(home, ignore_errors=True)


def main() -> int:
    """Start one, say how to reach it, and end it with Ctrl-C."""
    with cluster() as made:
        sys.stdout.writelines(f"export {name}={value}\n" for name, value in made.env.items())
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            signal.pause()
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
