"""The scheduler `lsf`: jobs go to an IBM Spectrum LSF cluster.

`bsub` submits them, and `bjobs` tells their states.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Unpack

from hypnet_core.errors import SchedulerError, SchedulerUnavailableError
from hypnet_core.jobs import Interruption, JobSpec, JobState, Option, Script
from hypnet_hpsearch._text import in_one_line
from hypnet_hpsearch.schedulers.batch.base import BatchSystem
from hypnet_hpsearch.schedulers.batch.commands import Answer, run
from hypnet_hpsearch.schedulers.batch.jobs import Seen, in_parts, words
from hypnet_hpsearch.schedulers.batch.options import BatchOptions

__all__ = ["Lsf"]

_STATES = {
    **dict.fromkeys(("PEND", "PSUSP", "PROV", "WAIT", "FWD_PEND"), JobState.QUEUED),
    # UNKWN means that the host does not answer, not that the job has failed.
    **dict.fromkeys(("RUN", "USUSP", "SSUSP", "UNKWN"), JobState.RUNNING),
    "DONE": JobState.FINISHED,
}
"""All other states mean failure, unless the job was killed on request: EXIT, ZOMBI."""

_FIELDS = "jobid jobindex stat exit_code exit_reason job_description"
_INTERRUPTIONS = {
    "TERM_RUNLIMIT": Interruption.TIME_LIMIT,
    "TERM_DEADLINE": Interruption.TIME_LIMIT,
    "TERM_PREEMPT": Interruption.PREEMPTED,
    "TERM_UNKNOWN_HOST": Interruption.NODE,
    "TERM_ZOMBIE": Interruption.NODE,
    "TERM_MEMLIMIT": Interruption.MEMORY,
}
_BY_REQUEST = ("TERM_OWNER", "TERM_FORCE_OWNER", "TERM_ADMIN", "TERM_FORCE_ADMIN")
_NUMBER = re.compile(r"^Job <(\d+)>", re.MULTILINE)  # a site's own checks may print more
_NOT_NOW = re.compile(
    r"LSF is down|not responding|still trying|timed out|temporar|cannot"
    r" (?:contact|connect)|communication|library call"
    r"|Pending job threshold|Too many (?:pending )?jobs|limit (?:is|has been) reached",
    re.IGNORECASE,
)
_NOTHING = re.compile(r"No (?:unfinished |matching )?job found|is not found", re.IGNORECASE)
_GONE = re.compile(
    r"already finished|No matching job found|is not found|being (?:terminated|signaled)",
    re.IGNORECASE,
)
_AT_ONCE = 200  # jobs per call
_OURS = frozenset({
    "-J", "-Jd", "-o", "-oo", "-e", "-eo", "-i", "-is", "-cwd", "-n", "-W", "-M", "-gpu", "-r",
    "-rn", "-I", "-Ip", "-Is", "-IS", "-K", "-env", "-H", "-h", "-V", "-f", "-Zs", "-json",
    "-yaml", "-jsdl",
})  # fmt: skip


class Lsf(BatchSystem):
    """Submits jobs to an LSF cluster (10.1 or later), as job arrays where possible.

    It was tested with a stand-in for LSF's commands only, never with LSF itself: please
    report how it works on a real cluster.

    Jobs outlive the driver. An id is LSF's number and a token that is also in the job's
    description: it finds a job whose number was lost, and tells it from another job
    that was later given the same number. LSF forgets a job about an hour after its end;
    then it is lost as far as LSF is concerned, and its own result decides.

    A job has the driver's environment, without the variables that LSF has set for the
    driver itself; `OMP_NUM_THREADS` is its number of cores unless it is set. All cores
    are on one host. Times are rounded up to minutes and memory to MB.

    Args:
        queue: Queue; the cluster's default if `None`.
        project: Project to charge.
        group: User group.
        app: Application profile.
        select: Resource requirement for `-R`, in addition to those for memory and
            cores, such as `"select[hname!=n7]"`.
        gpu: Requirements of GPUs in addition to their number, such as
            `"gmodel=NVIDIAA100:mode=exclusive_process"`.
        memory_per_core: Whether this cluster's `rusage[mem=…]` counts per core rather
            than per job.
        environment: Whether jobs have the driver's environment (`all`) or none of it
            (`none`).
        **options: Options that all batch systems share; see `BatchOptions`.

    Raises:
        SchedulerError: An extra option is malformed, or is one that is set here.

    Example:
        >>> from hypnet_core.jobs import Interruption, JobSpec
        >>> scheduler = Lsf(queue="gpu", options=["-U nightly"])
        >>> job = JobSpec(argv=("python", "train.py"), gpus=1, time_limit=5400)
        >>> [script] = scheduler.scripts([job])
        >>> script.argv[-9:]
        ('-W', '90', '-gpu', 'num=1', '-q', 'gpu', '-rn', '-U', 'nightly')
    """

    system = "LSF"
    programs = ("bsub", "bjobs", "bkill")
    index = "LSB_JOBINDEX"
    first = 1
    interruptions: ClassVar = _INTERRUPTIONS
    ours: ClassVar = _OURS

    def __init__(
        self,
        *,
        queue: Option | None = None,
        project: Option | None = None,
        group: Option | None = None,
        app: Option | None = None,
        select: Option | None = None,
        gpu: Option | None = None,
        memory_per_core: bool = False,
        environment: Literal["all", "none"] = "all",
        **options: Unpack[BatchOptions],
    ) -> None:
        super().__init__(**options)
        chosen = {"-q": queue, "-P": project, "-G": group, "-app": app}
        self._named = [
            word for name, value in chosen.items() if value is not None for word in (name, value)
        ]
        self._select, self._gpu, self._memory_per_core, self._environment = (
            select,
            gpu,
            memory_per_core,
            environment,
        )

    def _command(self, job: JobSpec, *, name: str, count: int, mark: str) -> list[str]:
        name = re.sub(r"[^\w.+-]", "_", name)  # brackets and wildcards mean something in a name
        needs = ["span[hosts=1]", *([self._select] if self._select else [])]
        if job.memory is not None:
            memory = job.memory / (job.cpus if self._memory_per_core else 1)
            # Without a unit, the site's default would apply.
            needs.append(f"rusage[mem={math.ceil(memory / 2**20)}MB]")
        gpus = f"num={job.gpus}" + (f":{self._gpu}" if self._gpu else "")
        return [
            *(
                "bsub",
                "-J",
                f"{name}[1-{count}]" if count > 1 else name,
                "-Jd",
                mark,
                "-env",
                self._environment,
            ),
            # The script itself opens the job's files.
            *("-cwd", str(Path.cwd()), "-o", "/dev/null"),
            *("-n", str(job.cpus), "-R", " ".join(needs)),
            *(
                []
                if job.time_limit is None
                else ["-W", str(math.ceil(job.time_limit.total_seconds() / 60))]
            ),
            *(["-gpu", gpus] if job.gpus else []),
            *self._named,
            "-rn",
            *(word for option in (*self._options, *job.options) for word in words(option)),
        ]

    def _submit(self, prepared: Script) -> list[str]:
        answer = self._run(prepared.argv, text=prepared.text)
        found = _NUMBER.search(answer.out)
        if answer.code or found is None:
            said = in_one_line(f"{answer.err} {answer.out}") or f"exit code {answer.code}"
            failure = SchedulerUnavailableError if _NOT_NOW.search(said) else SchedulerError
            raise failure(f"LSF does not accept the job: {said}")
        return (
            [found[1]]
            if prepared.jobs == 1
            else [f"{found[1]}_{index}" for index in range(1, prepared.jobs + 1)]
        )

    def _look(self, numbers: Sequence[str]) -> dict[str, Seen]:
        found: dict[str, Seen] = {}
        for part in in_parts(
            list(dict.fromkeys(number.partition("_")[0] for number in numbers)), _AT_ONCE
        ):
            found.update(self._jobs("-a", *part))
        return found

    def _mine(self) -> Iterable[tuple[str, Seen]]:
        return self._jobs()

    def _jobs(self, *which: str) -> Iterator[tuple[str, Seen]]:
        answer = self._run(["bjobs", "-json", "-o", _FIELDS, *which])
        try:
            records = json.loads(answer.out)["RECORDS"]
        except (ValueError, KeyError, TypeError):
            said = f"{answer.err} {answer.out}"
            if not _NOTHING.search(said):
                raise SchedulerUnavailableError(
                    f"bjobs: {in_one_line(said) or f'exit code {answer.code}'}"
                ) from None
            records = []
        for record in records:
            # The record of an unknown job holds nothing but an error.
            if isinstance(record, dict) and "JOBID" in record:
                index = str(record.get("JOBINDEX") or "0")
                yield (
                    record["JOBID"] if index == "0" else f"{record['JOBID']}_{index}",
                    _seen(record),
                )

    def _kill(self, numbers: Sequence[str]) -> None:
        for part in in_parts(numbers, _AT_ONCE):
            answer = self._run(["bkill", *(re.sub(r"_(\d+)$", r"[\1]", number) for number in part)])
            odd = [
                line for line in answer.err.splitlines() if line.strip() and not _GONE.search(line)
            ]
            if answer.code and odd:
                raise SchedulerUnavailableError(f"bkill: {in_one_line(odd[0])}")

    def _run(self, argv: Sequence[str], text: str = "") -> Answer:
        return run(argv, text=text, env=_environment(), timeout=self.timeout)


def _seen(record: dict[str, Any]) -> Seen:
    stat, code, why = (str(record.get(key) or "") for key in ("STAT", "EXIT_CODE", "EXIT_REASON"))
    state = _STATES.get(stat, JobState.FAILED)
    if stat == "EXIT" and why.startswith(_BY_REQUEST):
        state = JobState.CANCELLED
    reason = f"{stat}{f', exit code {code}' if code else ''}{f': {why}' if why else ''}"
    return Seen(state, reason, str(record.get("JOB_DESCRIPTION") or ""))


def _environment() -> dict[str, str]:
    """This process's environment, without variables of a job of LSF."""
    unwanted = re.compile(
        r"LSB_(JOB|BATCH|HOSTS|MCPU|DJOB|AFFINITY|BIND|EFFECTIVE|SUB|EXIT|ERRORFILE|OUTPUTFILE"
        r"|CHKFILE|ECHKPNT|TRAPSIGS|XFJOB|QUEUE|PROJECT|UNIXGROUP|OUTDIR|RES_|ACCT|CGROUP|GPU"
        r"|MAX_NUM|INTERACTIVE).*|LS_(JOBPID|EXECCWD|SUBCWD)|LSFUSER|CUDA_VISIBLE_DEVICES"
    )
    return {name: value for name, value in os.environ.items() if not unwanted.fullmatch(name)}
