"""The scheduler `slurm` on a real Slurm: arrays, GPUs, limits, a lost controller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from hypnet_core.errors import ConfigError, SchedulerError, SchedulerUnavailableError
from hypnet_core.jobs import JobSpec, JobState
from hypnet_core.plugins import Kind, registry
from hypnet_core.testing.scheduler import HOSTILE
from hypnet_hpsearch.schedulers import Slurm

Cluster: TypeAlias = Any  # see conftest.py
HYPNET = [sys.executable, "-P", "-m", "hypnet_core.cli.main"]


def wait_until(happened: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def python(code: str, *arguments: str, **fields: object) -> JobSpec:
    return JobSpec.model_validate(
        {"argv": [sys.executable, "-S", "-c", textwrap.dedent(code), *arguments], **fields}
    )


def sleeping(**fields: object) -> JobSpec:
    return python("import time; time.sleep(600)", **fields)


def ends_of(scheduler: Slurm, jobs: Sequence[str], seconds: float = 60) -> list[JobState]:
    wait_until(lambda: all(state.ended for state in scheduler.poll(jobs).values()), seconds)
    states = scheduler.poll(jobs)
    return [states[job] for job in jobs]


def number(job: str) -> str:
    return job.partition(":")[0]


def test_jobs_that_need_the_same_are_one_array(slurm: Cluster, tmp_path: Path) -> None:
    scheduler = Slurm()
    show = "import os; print(os.environ['SLURM_ARRAY_TASK_ID'])"
    paths = [tmp_path / str(index) for index in range(4)]
    jobs = scheduler.submit_many(
        [python(show, stdout=path, name=f"search-{path.name}") for path in paths]
    )
    base = number(jobs[0]).partition("_")[0]
    assert [number(job) for job in jobs] == [f"{base}_{index}" for index in range(4)]
    assert (
        slurm.says("squeue", "-h", "-t", "all", "-j", base, "-o", "%j").splitlines()[0] == "search"
    )
    assert ends_of(scheduler, jobs) == [JobState.FINISHED] * 4
    assert [path.read_text() for path in paths] == ["0\n", "1\n", "2\n", "3\n"]


@pytest.mark.usefixtures("slurm")
def test_one_element_that_fails_does_not_concern_the_others() -> None:
    scheduler = Slurm()
    jobs = scheduler.submit_many(
        [python("pass"), python("raise SystemExit(7)"), JobSpec(argv=("/no/such",)), python("pass")]
    )
    finished, failed = JobState.FINISHED, JobState.FAILED
    assert ends_of(scheduler, jobs) == [finished, failed, failed, finished]
    assert scheduler.reason(jobs[1]) == "FAILED: NonZeroExitCode"


def test_jobs_of_different_needs_or_too_many_are_no_array() -> None:
    with pytest.raises(SchedulerError, match="at most 50 jobs, which must all need the same"):
        Slurm().submit_many([python("pass"), python("pass", cpus=2)])
    with pytest.raises(SchedulerError, match="at most 2 jobs"):
        Slurm(array_size=2).submit_many([python("pass")] * 3)


@pytest.mark.usefixtures("slurm")
def test_each_job_sees_its_own_gpus_only(tmp_path: Path) -> None:
    scheduler = Slurm()
    show = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(1)"
    paths = [tmp_path / str(index) for index in range(2)]
    jobs = scheduler.submit_many([python(show, gpus=2, stdout=path) for path in paths])
    assert ends_of(scheduler, jobs) == [JobState.FINISHED] * 2
    assert sorted(gpu for path in paths for gpu in path.read_text().strip().split(",")) == [
        "0",
        "1",
        "2",
        "3",
    ]


def test_the_drivers_own_gpus_and_job_are_not_passed_on(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the search itself runs in a job of Slurm."""
    for name, value in {
        "CUDA_VISIBLE_DEVICES": "3",
        "SLURM_JOB_ID": "1",
        "SLURM_MEM_PER_CPU": "7",
        "SLURM_CPUS_PER_TASK": "5",
        "SBATCH_ARRAY_INX": "0-3",
        "SBATCH_WAIT": "1",
        "SQUEUE_STATES": "FAILED",
        "MINE": "kept",
    }.items():
        monkeypatch.setenv(name, value)
    scheduler = Slurm()
    job = scheduler.submit(
        python(
            "import json, os; print(json.dumps(dict(os.environ)))",
            cpus=2,
            stdout=tmp_path / "environment",
        )
    )
    assert ends_of(scheduler, [job]) == [JobState.FINISHED]
    environment = json.loads((tmp_path / "environment").read_text())
    assert environment.get("CUDA_VISIBLE_DEVICES") in {None, "", "NoDevFiles"}
    assert environment["SLURM_JOB_ID"] == number(job)
    assert environment["SLURM_CPUS_PER_TASK"] == "2"
    assert environment.get("SLURM_MEM_PER_CPU") != "7"
    assert environment["MINE"] == "kept"
    assert slurm.says("squeue", "-h", "-t", "all", "-j", number(job), "-o", "%K") == "N/A"


@pytest.mark.usefixtures("slurm")
def test_threads_follow_the_cores_unless_the_job_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    scheduler = Slurm()
    show = "import os; print(os.environ['OMP_NUM_THREADS'])"
    jobs = [
        scheduler.submit(python(show, cpus=3, stdout=tmp_path / "three")),
        scheduler.submit(
            python(show, cpus=3, env={"OMP_NUM_THREADS": "7"}, stdout=tmp_path / "seven")
        ),
    ]
    ends_of(scheduler, jobs)
    assert [(tmp_path / name).read_text() for name in ("three", "seven")] == ["3\n", "7\n"]


def test_needs_and_options_reach_slurm(slurm: Cluster) -> None:
    scheduler = Slurm(
        partition="short",
        constraint="fast",
        options=("--begin=now+1hour", "--mail-type NONE", "--nice=7"),
        max_jobs=3,
    )
    job = scheduler.submit(
        sleeping(cpus=2, gpus=1, memory="1000MB", time_limit=90, name="a 'name' $(x)")
    )
    shown = slurm.says("scontrol", "-o", "show", "job", number(job))
    for fact in (
        "JobName=a 'name' $(x) ",
        "Partition=short",
        "Features=fast",
        "TimeLimit=00:02:00",
        "MinMemoryNode=954M",
        "CPUs/Task=2",
        "TresPerNode=gres:gpu:1",
        "Nice=7",
        "Requeue=0",
    ):
        assert fact in shown, (fact, shown)
    assert scheduler.poll([job])[job] is JobState.QUEUED
    scheduler.cancel([job])


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize(
    ("fields", "options", "why"),
    [
        ({"gpus": 9}, {}, "Requested node configuration is not available"),
        (
            {"memory": "1TB"},
            {},
            (
                "Memory specification can not be satisfied|Requested node configuration is not"
                " available"
            ),
        ),
        ({}, {"partition": "nowhere"}, "invalid partition specified: nowhere"),
        ({}, {"constraint": "pink"}, "Invalid feature specification"),
        ({}, {"options": ("--no-such-option",)}, "unrecognized option '--no-such-option'"),
    ],
)
def test_what_slurm_refuses_is_one_line_in_its_own_words(
    fields: dict[str, Any], options: dict[str, Any], why: str
) -> None:
    with pytest.raises(SchedulerError, match=why) as caught:
        Slurm(**options).submit(python("pass", **fields))
    assert not isinstance(caught.value, SchedulerUnavailableError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "option",
    [
        "--array=0-3",
        "-a0-3",
        "--arr=0-3",
        "--wrap=true",
        "-o x",
        "--ou=x",
        "-W",
        "--comment=x",
        "script.sh",
        "-",
        "--",
        "-- x",
    ],
)
def test_an_option_that_is_none_or_ours_is_refused(option: str) -> None:
    with pytest.raises(SchedulerError, match=r"cannot be given|must begin with a dash"):
        Slurm(options=(option,))
    with pytest.raises(SchedulerError, match=r"cannot be given|must begin with a dash"):
        Slurm().scripts([python("pass", options=(option,))])


@pytest.mark.parametrize(
    "options",
    [{"partition": "a\nb"}, {"options": ["--x\n--y"]}, {"setup": ["true\nfalse"]}, {"qos": ""}],
)
def test_an_option_of_more_than_one_line_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="one line"):
        registry().get(Kind.SCHEDULER, "slurm").build(**options)


@pytest.mark.usefixtures("slurm")
def test_an_argument_that_looks_like_an_instruction_is_none(tmp_path: Path) -> None:
    text = "\n#SBATCH --time=bad\n#BSUB -W bad\n#PBS -l bad\nesac\n;;\n"
    scheduler = Slurm()
    show = "import sys; sys.stdout.write(sys.argv[1])"
    jobs = scheduler.submit_many(
        [python(show, text, stdout=tmp_path / name) for name in ("a", "b")]
    )
    assert ends_of(scheduler, jobs) == [JobState.FINISHED] * 2
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == text


@pytest.mark.usefixtures("slurm")
def test_files_and_directories_may_be_called_anything(tmp_path: Path) -> None:
    directory = tmp_path / "%j $(x) `y` 'z' \"q\" \\n ü\n-"
    directory.mkdir()
    scheduler = Slurm()
    job = scheduler.submit(
        python(
            "import os; print(os.getcwd())",
            cwd=directory,
            stdout=directory / "--o %a",
            name="%j -x",
        )
    )
    assert ends_of(scheduler, [job]) == [JobState.FINISHED]
    assert (directory / "--o %a").read_text() == f"{directory}\n"


@pytest.mark.usefixtures("slurm")
def test_lines_for_the_script_run_before_the_command(tmp_path: Path) -> None:
    scheduler = Slurm(setup=('module() { export LOADED="$1"; }', "module cuda/12 # why not"))
    show = "import os; print(os.environ['LOADED'])"
    jobs = scheduler.submit_many([python(show, stdout=tmp_path / name) for name in ("a", "b")])
    assert ends_of(scheduler, jobs) == [JobState.FINISHED] * 2
    assert (tmp_path / "b").read_text() == "cuda/12\n"


@pytest.mark.usefixtures("slurm")
def test_a_line_for_the_script_that_is_broken_fails_the_job() -> None:
    scheduler = Slurm(setup=('echo "no end',))
    assert ends_of(scheduler, [scheduler.submit(python("pass"))]) == [JobState.FAILED]


def test_a_variable_that_no_shell_accepts_is_refused() -> None:
    with pytest.raises(SchedulerError, match="cannot set the environment variable 'a b'"):
        Slurm().submit(python("pass", env={"a b": "1"}))


def test_cancelled_elements_are_cancelled_even_if_slurm_forgets_them(slurm: Cluster) -> None:
    """An element that never started leaves no record."""
    scheduler = Slurm(options=("--begin=now+1hour",))
    jobs = scheduler.submit_many([sleeping()] * 3)
    scheduler.cancel(jobs[:2])
    assert ends_of(scheduler, jobs[:2]) == [JobState.CANCELLED] * 2
    assert scheduler.poll(jobs)[jobs[2]] is JobState.QUEUED
    assert slurm.says("squeue", "-h", "-r", "-t", "all", "-j", number(jobs[0]), "-o", "%i") == ""
    assert Slurm().poll(jobs) == {
        jobs[0]: JobState.LOST,
        jobs[1]: JobState.LOST,
        jobs[2]: JobState.QUEUED,
    }


@pytest.mark.usefixtures("slurm")
def test_a_job_that_is_killed_hard_has_failed_and_says_why(tmp_path: Path) -> None:
    scheduler = Slurm()
    code = "import os; open('pid', 'w').write(str(os.getpid())); os.kill(os.getpid(), 9)"
    job = scheduler.submit(python(code, cwd=tmp_path))
    assert ends_of(scheduler, [job]) == [JobState.FAILED]
    assert scheduler.reason(job).startswith("FAILED: ")


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_a_job_over_its_time_limit_has_failed_and_says_why() -> None:
    scheduler = Slurm()
    job = scheduler.submit(sleeping(time_limit=5))
    assert ends_of(scheduler, [job], 180) == [JobState.FAILED]
    assert scheduler.reason(job) == "TIMEOUT: TimeLimit"


def test_a_reason_with_spaces_and_commas_disturbs_nobody(slurm: Cluster) -> None:
    scheduler = Slurm()
    slurm.says("scontrol", "update", "nodename=n1", "state=drain", "reason=out, for | repair")
    try:
        job = scheduler.submit(sleeping())
        wait_until(lambda: " " in slurm.says("squeue", "-h", "-j", number(job), "-o", "%r"))
        assert scheduler.poll([job, "1:00000000"]) == {
            job: JobState.QUEUED,
            "1:00000000": JobState.LOST,
        }
        scheduler.cancel([job])
        assert ends_of(scheduler, [job]) == [JobState.CANCELLED]
    finally:
        slurm.says("scontrol", "update", "nodename=n1", "state=resume")


def test_a_number_that_was_given_to_another_job_is_not_mistaken(slurm: Cluster) -> None:
    scheduler = Slurm()
    job = scheduler.submit(sleeping())
    earlier = f"{number(job)}:0badbeef"
    assert scheduler.poll([earlier])[earlier] is JobState.LOST
    scheduler.cancel([earlier])
    assert scheduler.poll([job])[job] in {JobState.QUEUED, JobState.RUNNING}
    slurm.says(
        "scontrol", "update", f"jobid={number(job)}", "comment=of the site's own"
    )  # says nothing about whose it is
    assert Slurm().poll([job])[job] in {JobState.QUEUED, JobState.RUNNING}


def test_a_controller_that_is_down_changes_no_state(slurm: Cluster) -> None:
    scheduler = Slurm()
    running, doomed = scheduler.submit(sleeping()), scheduler.submit(sleeping())
    wait_until(lambda: set(scheduler.poll([running, doomed]).values()) == {JobState.RUNNING})
    slurm.stop_controller()
    scheduler.timeout = 0.5
    began = time.monotonic()
    with pytest.raises(SchedulerUnavailableError, match=r"squeue did not answer within 0\.5 s"):
        scheduler.poll([running])
    with pytest.raises(SchedulerUnavailableError):
        scheduler.cancel([doomed])
    with pytest.raises(SchedulerUnavailableError, match=r"sbatch did not answer within 0\.5 s"):
        scheduler.submit(sleeping(key="k1"))
    with pytest.raises(SchedulerUnavailableError):
        Slurm(timeout=0.5).find(["k1"])
    assert time.monotonic() - began < 12
    slurm.start_controller()
    scheduler.timeout = 20.0
    states = scheduler.poll([running, doomed])  # and what could not be cancelled is cancelled now
    assert states[running] is JobState.RUNNING
    assert ends_of(scheduler, [doomed]) == [JobState.CANCELLED]
    assert scheduler.poll([running])[running] is JobState.RUNNING


def test_slurms_own_word_that_its_controller_is_down_is_understood(slurm: Cluster) -> None:
    slurm.stop_controller()
    with pytest.raises(SchedulerUnavailableError, match=r"[Uu]nable to contact slurm controller"):
        Slurm().submit(sleeping())


def test_a_job_outlives_a_controller_that_is_restarted(slurm: Cluster, tmp_path: Path) -> None:
    scheduler = Slurm()
    code = "import os, time\nopen('started', 'w')\nwhile not os.path.exists('go'): time.sleep(0.05)"
    job = scheduler.submit(python(code, cwd=tmp_path))
    wait_until((tmp_path / "started").exists)
    slurm.stop_controller()
    (tmp_path / "go").touch()  # it ends while nobody looks
    slurm.start_controller()
    assert ends_of(scheduler, [job]) == [JobState.FINISHED]


def test_a_submission_whose_answer_was_lost_is_not_made_twice(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "sbatch"
    slow.parent.mkdir()
    slow.write_text(
        '#!/bin/sh\n/usr/bin/env PATH="${PATH#*:}" sbatch "$@" >/dev/null\nexec sleep 60\n'
    )
    slow.chmod(0o755)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{slow.parent}{os.pathsep}{path}")
    scheduler = Slurm(timeout=1.5)
    jobs = [sleeping(key=f"key{index}") for index in range(3)]
    with pytest.raises(SchedulerUnavailableError):
        scheduler.submit_many(jobs)
    monkeypatch.setenv("PATH", path)
    scheduler.timeout = 20.0
    one = scheduler.submit(jobs[1])
    rest = scheduler.submit_many([jobs[0], sleeping(key="new"), jobs[2]])
    queued = slurm.says("squeue", "-h", "-r", "-o", "%i").split()
    assert sorted(queued) == sorted(number(job) for job in [one, *rest])
    assert {number(job).partition("_")[0] for job in (one, rest[0], rest[2])} == {
        number(one).partition("_")[0]
    }
    assert set(scheduler.poll([one, *rest]).values()) <= {JobState.QUEUED, JobState.RUNNING}


@pytest.mark.slow
def test_accounting_tells_what_the_controller_has_forgotten(accounting_slurm: Cluster) -> None:
    scheduler = Slurm()
    jobs = scheduler.submit_many([python("pass"), python("raise SystemExit(3)"), sleeping()])
    wait_until(lambda: scheduler.poll(jobs)[jobs[2]] is JobState.RUNNING)
    Slurm().cancel(jobs[2:])
    wait_until(
        lambda: (
            number(jobs[0])
            not in accounting_slurm.says("squeue", "-h", "-r", "-t", "all", "-o", "%i")
        ),
        180,
    )
    wait_until(lambda: accounting_slurm.says("squeue", "-h", "-t", "all") == "", 180)
    later = Slurm()
    wait_until(lambda: JobState.LOST not in later.poll(jobs).values())
    assert ends_of(later, jobs) == [JobState.FINISHED, JobState.FAILED, JobState.CANCELLED]
    assert later.reason(jobs[1]) == "FAILED, exit code 3:0"
    assert later.reason(jobs[2]).startswith("CANCELLED")
    assert later.poll(["9999999:00000000"]) == {"9999999:00000000": JobState.LOST}


TRIAL = """
import json, os, sys, time
options = dict(argument.split("=", 1) for argument in sys.argv[1:])
log = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(log, f"begin {options['x']}\\n".encode())
time.sleep(float(options["sleep"]))
with open(os.path.join(os.environ["HYPNET_TRIAL_DIR"], "summary.json"), "w") as file:
    json.dump({"score": int(options["x"]) ** 2, "text": options.get("text")}, file)
os.write(log, f"end {options['x']}\\n".encode())
"""


class Searched:
    """A search over Slurm, as a user runs it."""

    def __init__(self, path: Path) -> None:
        self.path, self.out = path, path / "out"
        (path / "trial.py").write_text(TRIAL)

    def plan(self, grid: dict[str, Any], sleep: float, **fields: Any) -> None:
        search = {
            "command": [sys.executable, "-S", "trial.py", "{options}"],
            "style": "key=value",
            "metric": "score",
            "direction": "minimize",
            "base": {"sleep": sleep},
            "grid": grid,
            "resources": {"memory": "10MB"},
            "scheduler": {"name": "slurm", "poll_interval": 0.2, "timeout": 3, "array_size": 4},
            **fields,
        }
        (self.path / "search.yaml").write_text(json.dumps(search, ensure_ascii=False))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*HYPNET, "search", "run", "search.yaml", "--out", "out", *arguments],
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def log(self) -> Counter[str]:
        path = self.path / "log"
        return Counter(path.read_text().splitlines() if path.exists() else [])

    def summaries(self) -> list[dict[str, Any]]:
        return [
            json.loads(path.read_text()) for path in self.out.glob("trials/*/*/run/summary.json")
        ]

    def check(self, driver: subprocess.Popen[str], trials: int) -> str:
        """All are done, each was run once."""
        _, said = driver.communicate(timeout=120)
        assert driver.returncode == 0, said
        assert self.log() == {f"{what} {x}": 1 for x in range(trials) for what in ("begin", "end")}
        return said


@pytest.fixture
def searched(tmp_path: Path) -> Searched:
    return Searched(tmp_path)


@pytest.mark.usefixtures("slurm")
def test_hostile_values_reach_the_trials_of_a_search_unchanged(searched: Searched) -> None:
    searched.plan({"text": list(HOSTILE), "x": [0]}, sleep=0)
    driver = searched.start()
    _, said = driver.communicate(timeout=120)
    assert driver.returncode == 0, said
    assert sorted(summary["text"] for summary in searched.summaries()) == sorted(HOSTILE)


def test_a_search_whose_driver_is_killed_is_resumed_and_repeats_nothing(
    slurm: Cluster, searched: Searched
) -> None:
    searched.plan({"x": list(range(12))}, sleep=0.8)
    driver = searched.start()
    wait_until(lambda: searched.log()["end 0"])
    driver.kill()
    driver.communicate()
    assert slurm.says("squeue", "-h") != ""
    said = searched.check(searched.start(), 12)
    assert "to run:" in said


def test_a_search_keeps_its_queue_short(slurm: Cluster, searched: Searched) -> None:
    searched.plan({"x": list(range(8))}, sleep=0.2)
    driver = searched.start("--max-jobs", "3")
    most = 0
    while driver.poll() is None:
        most = max(most, len((slurm.says("squeue", "-h", "-r", "-o", "%i") or "").split()))
    searched.check(driver, 8)
    assert 2 <= most <= 4  # one may be about to leave


def test_a_search_goes_on_when_its_controller_comes_back(
    slurm: Cluster, searched: Searched
) -> None:
    impatient = {"name": "slurm", "poll_interval": 0.2, "timeout": 1, "array_size": 4}
    searched.plan({"x": list(range(6))}, sleep=0.5, scheduler=impatient)
    driver = searched.start("--max-jobs", "2")
    wait_until(lambda: searched.log()["begin 0"])
    slurm.stop_controller()
    time.sleep(1.5)  # until the driver has asked in vain
    slurm.start_controller()
    assert "the scheduler does not answer: squeue did not answer within 1 s" in searched.check(
        driver, 6
    )


def test_jobs_whose_ids_were_lost_are_found_again(slurm: Cluster, searched: Searched) -> None:
    """The driver is killed after it has submitted jobs, before it records which."""
    searched.plan({"x": list(range(3))}, sleep=0.2, resources={"options": ["--begin=now+3"]})
    driver = searched.start()
    wait_until(lambda: (slurm.says("squeue", "-h") or "") != "")
    driver.kill()
    driver.communicate()
    journal = searched.out / "journal.jsonl"
    lines = [
        line
        for line in journal.read_text().splitlines(keepends=True)
        if '"event":"job"' not in line
    ]
    journal.write_text("".join(lines))
    searched.check(searched.start(), 3)
    assert (
        len(
            (
                slurm.says("squeue", "-h", "-r", "-t", "all", "-S", "V", "-o", "%i %k") or ""
            ).splitlines()
        )
        >= 3
    )
    assert not list(searched.out.glob("trials/*/2"))


def test_ctrl_c_cancels_the_jobs(slurm: Cluster, searched: Searched) -> None:
    searched.plan({"x": list(range(4))}, sleep=60)
    driver = searched.start()
    wait_until(lambda: searched.log()["begin 0"])
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=90)
    assert driver.returncode == 130, said
    assert slurm.says("squeue", "-h") == ""
    assert not any(line.startswith("end") for line in searched.log())


@pytest.mark.usefixtures("slurm")
def test_a_partition_that_does_not_exist_is_one_line_and_loses_nothing(searched: Searched) -> None:
    searched.plan({"x": [0, 1]}, sleep=0, scheduler={"name": "slurm", "partition": "nowhere"})
    driver = searched.start()
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == 1
    assert (
        "Slurm does not accept the job: sbatch: error: invalid partition specified: nowhere"
        in said.splitlines()[-1]
    )
    searched.plan({"x": [0, 1]}, sleep=0)
    searched.check(searched.start(), 2)


def test_without_slurm_a_search_says_so_in_one_line_and_writes_nothing(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    searched.plan({"x": [0, 1]}, sleep=0)
    driver = searched.start()
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == 1
    assert (
        said
        == "hypnet: Slurm is not installed here: there is no sbatch and no squeue and no scancel on"
        " the PATH\n"
    )
    assert not searched.out.exists()


def test_without_slurm_its_checks_are_skipped_and_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = subprocess.run([*HYPNET, "check", "slurm"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    assert "Slurm is not installed here" in found.stdout
    assert " 0 failed" in found.stdout
    with pytest.raises(SchedulerError, match="no program 'sbatch' on the PATH"):
        Slurm().submit(python("pass"))
    with pytest.raises(SchedulerError, match="no program 'squeue'"):
        Slurm().poll(["1:00000000"])


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Makes a program say something, where no other program of Slurm is."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(program: str, text: str) -> None:
        path = tmp_path / program
        path.write_text(f"#!/bin/sh\nprintf '%s\\n' \"{text}\"\n")
        path.chmod(0o755)

    return make


@pytest.mark.parametrize("text", ["Welcome to our cluster!", "1|", "1||hn:0badbeef:|None", "{}"])
def test_an_answer_that_makes_no_sense_is_no_answer(
    said: Callable[[str, str], None], text: str
) -> None:
    said("squeue", text)
    with pytest.raises(SchedulerUnavailableError, match="squeue said"):
        Slurm().poll(["1:0badbeef"])


@pytest.mark.parametrize("text", ["Welcome to our cluster!", "1|", "1|||"])
def test_accounting_that_makes_no_sense_is_none(
    said: Callable[[str, str], None], text: str
) -> None:
    said("squeue", "2|RUNNING|hn:0badbeef:|None")
    said("sacct", text)
    assert Slurm().poll(["1:0badbeef", "2:0badbeef"]) == {
        "1:0badbeef": JobState.LOST,
        "2:0badbeef": JobState.RUNNING,
    }


def test_a_job_that_slurm_holds_after_it_could_not_start_it_has_failed(
    said: Callable[[str, str], None],
) -> None:
    said("squeue", "1|PENDING|hn:0badbeef:|launch failed requeued held")
    scheduler = Slurm()
    assert scheduler.poll(["1:0badbeef"]) == {"1:0badbeef": JobState.FAILED}
    assert scheduler.reason("1:0badbeef") == "LAUNCH_FAILED: launch failed requeued held"


@pytest.mark.parametrize(
    "mark", ["hn:0badbeef:", "hn:", "hn:0badbeef", "hn:0badbeef:k1,k2", "of the site's own"]
)
def test_comments_of_strangers_are_no_keys(said: Callable[[str, str], None], mark: str) -> None:
    said("squeue", f"7_9|RUNNING|{mark}|None")
    assert Slurm().find(["k1"]) == {}


@pytest.mark.usefixtures("slurm")
def test_a_trial_whose_job_is_killed_hard_is_run_again(searched: Searched) -> None:
    code = textwrap.dedent("""
        import json, os, pathlib
        marker = pathlib.Path("killed")
        if not marker.exists():
            marker.touch()
            os.killpg(0, 9)  # with the process around it, as when memory runs out
        json.dump({"score": 1}, open(os.environ["HYPNET_TRIAL_DIR"] + "/summary.json", "w"))
    """)
    (searched.path / "trial.py").write_text(code)
    searched.plan({"x": [0]}, sleep=0)
    driver = searched.start()
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == 0, said
    states = [
        json.loads(path.read_text()) for path in sorted(searched.out.glob("trials/*/*/result.json"))
    ]
    assert [result["state"] for result in states] == ["lost", "done"]
    assert states[0]["reason"].startswith("its job is failed (FAILED: ")


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_a_trial_over_its_time_limit_has_failed_and_is_not_run_again(searched: Searched) -> None:
    searched.plan({"x": [0]}, sleep=600, resources={"time_limit": 50})
    driver = searched.start()
    _, said = driver.communicate(timeout=240)
    assert driver.returncode == 1
    assert "over its time limit of 0:00:50" in said
    assert searched.log() == {"begin 0": 1}
