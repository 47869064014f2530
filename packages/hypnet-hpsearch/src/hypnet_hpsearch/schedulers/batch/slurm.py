"""The scheduler `slurm`: jobs go to a Slurm cluster with `sbatch`, and are watched with `squeue`, and `sacct` where it answers."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from hypnet_core.errors import SchedulerError, SchedulerUnavailableError
from hypnet_core.runs import JobSpec, JobState, Option, Script
from hypnet_hpsearch.schedulers.batch.base import BatchSystem, Seen, in_parts, words
from hypnet_hpsearch.schedulers.batch.commands import Answer, in_one_line, run

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
"""All others have failed: FAILED, TIMEOUT, NODE_FAIL, BOOT_FAIL, OUT_OF_MEMORY, DEADLINE, PREEMPTED, LAUNCH_FAILED, …"""

_NOT_NOW = re.compile(
    r"unable to contact|timed out|connection refused|could not establish|zero"
    r" bytes|temporar|authentication error|munge|standby"
    r"|transport endpoint|communications? (?:connection|failure)|MaxSubmitJob|job queue.* full",
    re.IGNORECASE,
)
_UNKNOWN = "Invalid job id"
_HELD = "launch failed requeued held"
_AT_ONCE = 500  # jobs in one question
_OURS = frozenset({
    "--array", "-a", "--wrap", "--parsable", "--comment", "--output", "-o", "--error", "-e", "--input", "-i", "--open-mode",
    "--job-name", "-J", "--chdir", "-D", "--export", "--export-file", "--test-only", "--wait", "-W", "--requeue", "--no-requeue",
    "--quiet", "-Q", "--help", "-h", "--usage", "--version", "-V", "--hold", "-H", "--ntasks", "-n", "--nodes", "-N",
    "--cpus-per-task", "-c", "--uid", "--gid", "--clusters", "-M",
})  # fmt: skip
_KEPT = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT"}


class Slurm(BatchSystem):
    """Submits jobs to a Slurm cluster, those that need the same as job arrays.

    Nothing but Slurm's own commands is needed where the search runs. Accounting
    (`sacct`) is asked if there is any; without it, a job that Slurm has forgotten is
    lost as far as Slurm is concerned, and its own result decides. Jobs outlive the
    driver. An id is Slurm's number and a token that is also in the job's comment, by
    which a job is found whose number was lost, and never mistaken for another that was
    given its number.

    A job has the driver's environment, without what Slurm has put there for the driver
    itself; `OMP_NUM_THREADS` is its number of cores unless it is set. Times are rounded
    up to minutes and memory to MiB.

    Args:
        partition: Partition, or several separated by commas; the cluster's default if
            `None`.
        qos: Quality of service.
        account: Account to charge.
        constraint: Features that a node must have, such as `"a100|h100"`.
        reservation: Reservation to use.
        gres: What a job's GPUs are asked for as, `--gres=GRES:N`; `"gpu:a100"` asks for
            that type.
        environment: Whether jobs have the driver's environment (`all`), or that of a
            login (`none`).
        options: More options for `sbatch`, one each, such as `"--exclude=n7"`.
        setup: Lines of bash that every job runs before its command, such as `"module
            load cuda"`. They are written into the script as they are.
        max_jobs: How many jobs a search keeps queued or running at once.
        array_size: How many jobs at most to submit as one array; 1 submits each by
            itself.
        poll_interval: Seconds between two looks at the queue.
        timeout: Seconds to wait for an answer.

    Raises:
        SchedulerError: An option is none, or one that is set here.

    Example:
        >>> scheduler = Slurm(partition="gpu", qos="long", options=["--exclude=n7"])
        >>> [script] = scheduler.scripts([JobSpec(argv=("python", "train.py"), gpus=1, memory="8GiB", time_limit=5400)])
        >>> script.argv[-7:]  # doctest: +NORMALIZE_WHITESPACE
        ('--cpus-per-task=1', '--mem=8192M', '--time=90', '--gres=gpu:1', '--partition=gpu', '--qos=long', '--exclude=n7')
    """

    system = "Slurm"
    programs = ("sbatch", "squeue", "scancel")
    index = "SLURM_ARRAY_TASK_ID"
    first = 0
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
        options: tuple[Option, ...] = (),
        setup: tuple[Option, ...] = (),
        max_jobs: PositiveInt = 50,
        array_size: Annotated[int, Field(ge=1, le=50)] = 50,
        poll_interval: Annotated[float, Field(gt=0)] = 5.0,
        timeout: Annotated[float, Field(gt=0)] = 20.0,
    ) -> None:
        chosen = {
            "partition": partition,
            "qos": qos,
            "account": account,
            "constraint": constraint,
            "reservation": reservation,
        }
        named = [f"--{name}={value}" for name, value in chosen.items() if value is not None]
        super().__init__(
            options=[*named, *options],
            setup=setup,
            max_jobs=max_jobs,
            array_size=array_size,
            poll_interval=poll_interval,
            timeout=timeout,
        )
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
            *(
                f"--chdir={Path.cwd()}",
                "--output=/dev/null",
            ),  # the script itself opens the job's files
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
        if name.startswith("--"):  # which may be cut short
            return any(taken.startswith(name) for taken in self.ours)
        return name[:2] in self.ours  # a value may follow at once

    def _submit(self, prepared: Script) -> list[str]:
        answer = self._run(prepared.argv, text=prepared.text)
        number = answer.out.strip().rpartition("\n")[2].partition(";")[0]
        if answer.code or not number.isdecimal():
            said = in_one_line(answer.err or answer.out) or f"exit code {answer.code}"
            failure = SchedulerUnavailableError if _NOT_NOW.search(said) else SchedulerError
            raise failure(f"Slurm does not take the job: {said}")
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
            raise SchedulerUnavailableError(
                f"squeue: {in_one_line(answer.err) or f'exit code {answer.code}'}"
            )
        for number, said, mark, reason in _fields(
            "squeue", answer.out, 4
        ):  # the reason may hold anything
            state = (
                "LAUNCH_FAILED" if _HELD in reason else said
            )  # nobody but an administrator could release it
            yield (
                number,
                Seen(
                    _state(state),
                    f"{state}: {reason}" if reason not in {"", "None"} else state,
                    mark,
                ),
            )

    def _accounted(self, numbers: Sequence[str]) -> dict[str, Seen]:
        """What accounting says about jobs that the controller has forgotten; nothing where there is no accounting."""
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
            except SchedulerUnavailableError:  # then it is as if there were none
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
                raise SchedulerUnavailableError(
                    f"scancel: {in_one_line(answer.err) or f'exit code {answer.code}'}"
                )

    def _run(self, argv: Sequence[str], text: str = "") -> Answer:
        return run(argv, text=text, env=_environment(), timeout=self.timeout)


def _fields(program: str, text: str, count: int) -> Iterator[list[str]]:
    """The fields of each line that a program wrote.

    Raises:
        SchedulerUnavailableError: It wrote something else.
    """
    for line in text.splitlines():
        fields = line.split("|", count - 1)
        if len(fields) != count or not fields[1]:
            raise SchedulerUnavailableError(f"{program} said {in_one_line(line, 60)!r}")
        yield fields


def _state(word: str) -> JobState:
    return _STATES.get(word, JobState.FAILED)


def _environment() -> dict[str, str]:
    """This process's environment, without what would change the meaning of a command, or what belongs to a job that the driver is."""
    unwanted = re.compile(
        r"(SLURM|SLURMD|SRUN|SQUEUE|SCANCEL|SACCT|PMI|PMIX)_.*|SBATCH_(WAIT|ARRAY_INX|TEST_ONLY|DEBUG)|CUDA_VISIBLE_DEVICES"
    )
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or not unwanted.fullmatch(name)
    }
