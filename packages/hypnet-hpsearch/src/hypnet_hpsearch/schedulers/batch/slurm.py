"""The scheduler `slurm`: jobs go to a Slurm cluster.

`sbatch` submits them; `squeue`, and `sacct` where it answers, tell their states.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Unpack

from hypnet_core.errors import SchedulerError, SchedulerUnavailableError
from hypnet_core.jobs import Interruption, JobSpec, JobState, Option, Script
from hypnet_hpsearch._text import in_one_line
from hypnet_hpsearch.schedulers.batch.base import BatchSystem
from hypnet_hpsearch.schedulers.batch.commands import Answer, run, said_by
from hypnet_hpsearch.schedulers.batch.jobs import Seen, in_parts, words
from hypnet_hpsearch.schedulers.batch.options import BatchOptions

__all__ = ["Slurm"]

_STATES = {
    **dict.fromkeys(
        ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD"),
        JobState.QUEUED,
    ),
    **dict.fromkeys(
        (
            "RUNNING",
            "COMPLETING",
            "SUSPENDED",
            "STOPPED",
            "SIGNALING",
            "STAGE_OUT",
            "RESIZING",
            "SPECIAL_EXIT",
        ),
        JobState.RUNNING,
    ),
    "COMPLETED": JobState.FINISHED,
    **dict.fromkeys(("CANCELLED", "REVOKED"), JobState.CANCELLED),
}
"""All other states mean failure: FAILED, TIMEOUT, OUT_OF_MEMORY, PREEMPTED, …"""

_INTERRUPTIONS = {
    "TIMEOUT": Interruption.TIME_LIMIT,
    "DEADLINE": Interruption.TIME_LIMIT,
    "PREEMPTED": Interruption.PREEMPTED,
    "NODE_FAIL": Interruption.NODE,
    "BOOT_FAIL": Interruption.NODE,
    "OUT_OF_MEMORY": Interruption.MEMORY,
}

_NOT_NOW = re.compile(
    r"unable to contact|timed out|connection refused|could not establish|zero"
    r" bytes|temporar|authentication error|munge|standby"
    r"|transport endpoint|communications? (?:connection|failure)|MaxSubmitJob|job queue.* full",
    re.IGNORECASE,
)
_UNKNOWN = "Invalid job id"
_HELD = "launch failed requeued held"
_AT_ONCE = 500  # jobs per call
_OURS = frozenset({
    "--array", "-a", "--wrap", "--parsable", "--comment", "--output", "-o", "--error", "-e",
    "--input", "-i", "--open-mode", "--job-name", "-J", "--chdir", "-D", "--export",
    "--export-file", "--test-only", "--wait", "-W", "--requeue", "--no-requeue", "--quiet",
    "-Q", "--help", "-h", "--usage", "--version", "-V", "--hold", "-H", "--ntasks", "-n",
    "--nodes", "-N", "--cpus-per-task", "-c", "--uid", "--gid", "--clusters", "-M",
})  # fmt: skip
_KEPT = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT"}


class Slurm(BatchSystem):
    """Submits jobs to a Slurm cluster; jobs that need the same go as job arrays.

    Only Slurm's own commands are needed where the search runs. Accounting (`sacct`) is
    asked if it exists; without it, a job that Slurm has forgotten is lost as far as
    Slurm is concerned, and its own result decides. Jobs outlive the driver. An id is
    Slurm's number and a token that is also in the job's comment: it finds a job whose
    number was lost, and tells it from another job that was later given the same number.

    A job has the driver's environment, without the variables that Slurm has set for the
    driver itself; `OMP_NUM_THREADS` is its number of cores unless it is set. Times are
    rounded up to minutes and memory to MiB.

    Args:
        partition: Partition, or several separated by commas; the cluster's default if
            `None`.
        qos: Quality of service.
        account: Account to charge.
        constraint: Features that a node must have, such as `"a100|h100"`.
        reservation: Reservation to use.
        gres: Name of GPUs in `--gres=GRES:N`; `"gpu:a100"` asks for that type.
        environment: Whether jobs have the driver's environment (`all`), or that of a
            login shell (`none`).
        **options: Options that all batch systems share; see `BatchOptions`.

    Raises:
        SchedulerError: An extra option is malformed, or is one that is set here.

    Example:
        >>> from hypnet_core.jobs import JobSpec
        >>> scheduler = Slurm(partition="gpu", options=["--exclude=n7"])
        >>> job = JobSpec(argv=("sim",), gpus=1, memory="8GiB", time_limit=5400)
        >>> [script] = scheduler.scripts([job])
        >>> script.argv[-5:]
        ('--mem=8192M', '--time=90', '--gres=gpu:1', '--partition=gpu', '--exclude=n7')
    """

    system = "Slurm"
    programs = ("sbatch", "squeue", "scancel")
    index = "SLURM_ARRAY_TASK_ID"
    first = 0
    interruptions: ClassVar = _INTERRUPTIONS
    ours: ClassVar = _OURS

    def __init__(
        self,
        *,
        partition: Option | None = None,
        qos: Option | None = None,
        account: Option | None = None,
        constraint: Option | None = None,
        reservation: Option | None = None,
        gres: Option = "gpu",
        environment: Literal["all", "none"] = "all",
        **options: Unpack[BatchOptions],
    ) -> None:
        chosen = {
            "partition": partition,
            "qos": qos,
            "account": account,
            "constraint": constraint,
            "reservation": reservation,
        }
        named = [f"--{name}={value}" for name, value in chosen.items() if value is not None]
        super().__init__(named=named, **options)
        self._gres, self._environment = gres, environment.upper()
        self._has_accounting = True

    def _command(self, job: JobSpec, *, name: str, count: int, mark: str) -> list[str]:
        return [
            *(
                "sbatch",
                "--parsable",
                "--ignore-pbs",
                "--no-requeue",
                f"--export={self._environment}",
            ),
            *(f"--job-name={name}", f"--comment={mark}"),
            # The script itself opens the job's files.
            *(f"--chdir={Path.cwd()}", "--output=/dev/null"),
            *([f"--array=0-{count - 1}"] if count > 1 else []),
            *("--nodes=1", "--ntasks=1", f"--cpus-per-task={job.cpus}"),
            *([] if job.memory is None else [f"--mem={math.ceil(job.memory / 2**20)}M"]),
            *(
                []
                if job.time_limit is None
                else [f"--time={math.ceil(job.time_limit.total_seconds() / 60)}"]
            ),
            *([f"--gres={self._gres}:{job.gpus}"] if job.gpus else []),
            *(word for option in (*self._options, *job.options) for word in words(option)),
        ]

    def _is_ours(self, name: str) -> bool:
        if name.startswith("--"):  # Slurm accepts unique prefixes
            return any(taken.startswith(name) for taken in self.ours)
        return name[:2] in self.ours  # a value may follow without a space

    def _submit(self, prepared: Script) -> list[str]:
        answer = self._run(prepared.argv, text=prepared.text)
        number = answer.out.strip().rpartition("\n")[2].partition(";")[0]
        if answer.code or not number.isdecimal():
            said = in_one_line(answer.err or answer.out) or f"exit code {answer.code}"
            failure = SchedulerUnavailableError if _NOT_NOW.search(said) else SchedulerError
            raise failure(f"Slurm does not accept the job: {said}")
        return (
            [number]
            if prepared.jobs == 1
            else [f"{number}_{index}" for index in range(prepared.jobs)]
        )

    def _look(self, numbers: Sequence[str]) -> dict[str, Seen]:
        found: dict[str, Seen] = {}
        for part in in_parts(
            list(dict.fromkeys(number.partition("_")[0] for number in numbers)), _AT_ONCE
        ):
            found.update(self._queue(f"--jobs={','.join(part)}", "--states=all"))
        missing = [number for number in numbers if number not in found]
        return {**found, **self._accounted(missing)}

    def _mine(self) -> Iterable[tuple[str, Seen]]:
        return self._queue(f"--user={os.getuid()}")

    def _queue(self, *which: str) -> Iterator[tuple[str, Seen]]:
        answer = self._run(
            ["squeue", "--noheader", "--array", "--all", "--format=%i|%T|%k|%r", *which]
        )
        if answer.code and _UNKNOWN not in answer.err:
            raise SchedulerUnavailableError(f"squeue: {said_by(answer)}")
        for number, said, mark, reason in _fields("squeue", answer.out, 4):
            # Only an administrator could release a job that Slurm holds after a
            # failure.
            state = "LAUNCH_FAILED" if _HELD in reason else said
            words_about_it = f"{state}: {reason}" if reason not in {"", "None"} else state
            yield number, Seen(_state(state), words_about_it, mark)

    def _accounted(self, numbers: Sequence[str]) -> dict[str, Seen]:
        """The statements of accounting about jobs that the controller has forgotten.

        There are none if there is no accounting.
        """
        found: dict[str, Seen] = {}
        if not numbers or not self._has_accounting:
            return found
        for part in in_parts(numbers, _AT_ONCE):
            try:
                answer = self._run(
                    [
                        *("sacct", "--allocations", "--parsable2", "--noheader"),
                        *(f"--jobs={','.join(part)}", "--format=JobID,State,ExitCode"),
                    ]
                )
                lines = list(_fields("sacct", answer.out, 3))
            except SchedulerUnavailableError:  # treat it as if there were no accounting
                return found
            except SchedulerError:  # it is not installed
                self._has_accounting = False
                return found
            if answer.code:
                self._has_accounting = "disabled" not in answer.err
                return found
            for number, state, code in lines:
                word = state.split()[0].rstrip("+")  # "CANCELLED by 0"
                found[number] = Seen(_state(word), f"{state}, exit code {code}")
        return found

    def _kill(self, numbers: Sequence[str]) -> None:
        for part in in_parts(numbers, _AT_ONCE):
            answer = self._run(["scancel", *part])
            if answer.code and _UNKNOWN not in answer.err:
                raise SchedulerUnavailableError(f"scancel: {said_by(answer)}")

    def _run(self, argv: Sequence[str], text: str = "") -> Answer:
        return run(argv, text=text, env=_environment(), timeout=self.timeout)


def _fields(program: str, text: str, count: int) -> Iterator[list[str]]:
    """The fields of each line of a program's output.

    The last field may contain the separator.

    Raises:
        SchedulerUnavailableError: A line has another form.
    """
    for line in text.splitlines():
        fields = line.split("|", count - 1)
        if len(fields) != count or not fields[1]:
            raise SchedulerUnavailableError(f"{program} said {in_one_line(line, 60)!r}")
        yield fields


def _state(word: str) -> JobState:
    return _STATES.get(word, JobState.FAILED)


def _environment() -> dict[str, str]:
    """This process's environment, without variables that change commands.

    The driver may itself be a job of Slurm, whose variables must not reach its own
    jobs.
    """
    unwanted = re.compile(
        r"(SLURM|SLURMD|SRUN|SQUEUE|SCANCEL|SACCT|PMI|PMIX)_.*"
        r"|SBATCH_(WAIT|ARRAY_INX|TEST_ONLY|DEBUG)|CUDA_VISIBLE_DEVICES"
    )
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or not unwanted.fullmatch(name)
    }
