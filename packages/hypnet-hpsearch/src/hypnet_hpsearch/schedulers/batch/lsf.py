"""The scheduler `lsf`: jobs go to an IBM Spectrum LSF cluster with `bsub`, and are watched with `bjobs`."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from hypnet_core.errors import SchedulerError, SchedulerUnavailableError
from hypnet_core.runs import JobSpec, JobState, Option, Script
from hypnet_hpsearch.schedulers.batch.base import BatchSystem, Seen, in_parts, words
from hypnet_hpsearch.schedulers.batch.commands import Answer, in_one_line, run

__all__ = ["Lsf"]

_STATES = {
    **dict.fromkeys(("PEND", "PSUSP", "PROV", "WAIT", "FWD_PEND"), JobState.QUEUED),
    **dict.fromkeys(
        ("RUN", "USUSP", "SSUSP", "UNKWN"), JobState.RUNNING
    ),  # unknown, as its host does not answer, is not failed
    "DONE": JobState.FINISHED,
}
"""All others have failed, unless they were killed on request: EXIT, ZOMBI."""

_FIELDS = "jobid jobindex stat exit_code exit_reason job_description"
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
_AT_ONCE = 200  # jobs in one question
_OURS = frozenset({
    "-J", "-Jd", "-o", "-oo", "-e", "-eo", "-i", "-is", "-cwd", "-n", "-W", "-M", "-gpu", "-r", "-rn", "-I", "-Ip", "-Is", "-IS", "-K",
    "-env", "-H", "-h", "-V", "-f", "-Zs", "-json", "-yaml", "-jsdl",
})  # fmt: skip


class Lsf(BatchSystem):
    """Submits jobs to an LSF cluster (10.1 or later), those that need the same as job arrays.

    It was checked against a stand-in for LSF's commands only, never against an LSF:
    please tell us what a real one makes of it.

    Jobs outlive the driver. An id is LSF's number and a token that is also in the job's
    description, by which a job is found whose number was lost, and never mistaken for
    another that was given its number. LSF forgets a job about an hour after its end;
    then it is lost as far as LSF is concerned, and its own result decides.

    A job has the driver's environment, without what LSF has put there for the driver
    itself; `OMP_NUM_THREADS` is its number of cores unless it is set. All cores are on
    one host. Times are rounded up to minutes and memory to MB.

    Args:
        queue: Queue; the cluster's default if `None`.
        project: Project to charge.
        group: User group.
        app: Application profile.
        select: Resource requirement, for `-R`, beside those for memory and cores, such
            as `"select[hname!=n7]"`.
        gpu: What GPUs are asked for with beside their number, such as
            `"gmodel=NVIDIAA100:mode=exclusive_process"`.
        memory_per_core: Whether this cluster's `rusage[mem=…]` counts per core and not
            per job.
        environment: Whether jobs have the driver's environment (`all`) or none of it
            (`none`).
        options: More options for `bsub`, one each, with their values: `"-U
            reservation"`.
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
        >>> scheduler = Lsf(queue="gpu", options=["-U nightly"])
        >>> [script] = scheduler.scripts([JobSpec(argv=("python", "train.py"), gpus=1, memory="8GiB", time_limit=5400)])
        >>> script.argv[-11:]
        ('-R', 'span[hosts=1] rusage[mem=8192MB]', '-W', '90', '-gpu', 'num=1', '-q', 'gpu', '-rn', '-U', 'nightly')
    """

    system = "LSF"
    programs = ("bsub", "bjobs", "bkill")
    index = "LSB_JOBINDEX"
    first = 1
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
        options: tuple[Option, ...] = (),
        setup: tuple[Option, ...] = (),
        max_jobs: PositiveInt = 50,
        array_size: Annotated[int, Field(ge=1, le=50)] = 50,
        poll_interval: Annotated[float, Field(gt=0)] = 5.0,
        timeout: Annotated[float, Field(gt=0)] = 20.0,
    ) -> None:
        super().__init__(
            options=options,
            setup=setup,
            max_jobs=max_jobs,
            array_size=array_size,
            poll_interval=poll_interval,
            timeout=timeout,
        )
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
            needs.append(
                f"rusage[mem={math.ceil(memory / 2**20)}MB]"
            )  # without a unit it would be the site's
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
            *(
                "-cwd",
                str(Path.cwd()),
                "-o",
                "/dev/null",
            ),  # the script itself opens the job's files
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
            raise failure(f"LSF does not take the job: {said}")
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
            if (
                isinstance(record, dict) and "JOBID" in record
            ):  # those of unknown jobs hold nothing but an error
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
    """This process's environment, without what belongs to a job of LSF that the driver may be."""
    unwanted = re.compile(
        r"LSB_(JOB|BATCH|HOSTS|MCPU|DJOB|AFFINITY|BIND|EFFECTIVE|SUB|EXIT|ERRORFILE|OUTPUTFILE|CHKFILE|ECHKPNT|TRAPSIGS|XFJOB|QUEUE|PROJECT"
        r"|UNIXGROUP|OUTDIR|RES_|ACCT|CGROUP|GPU|MAX_NUM|INTERACTIVE).*|LS_(JOBPID|EXECCWD|SUBCWD)|LSFUSER|CUDA_VISIBLE_DEVICES"
    )
    return {name: value for name, value in os.environ.items() if not unwanted.fullmatch(name)}
