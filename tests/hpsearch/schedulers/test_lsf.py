"""The scheduler `lsf`, tested with a stand-in for LSF's commands.

See lsf_standin.py for what that keeps.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import SchedulerError, SchedulerUnavailableError
from hypnet_core.jobs import JobSpec, JobState
from hypnet_core.testing import conformance
from hypnet_hpsearch.schedulers import Lsf

pytestmark = pytest.mark.usefixtures("lsf")

HYPNET = [sys.executable, "-P", "-m", "hypnet_core.cli.main"]

test_conformance = conformance("hpsearch", "lsf")


def wait_until(happened: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def python(code: str, *arguments: str, **fields: object) -> JobSpec:
    return JobSpec.model_validate(
        {"argv": [sys.executable, "-S", "-c", textwrap.dedent(code), *arguments], **fields}
    )


def ends_of(scheduler: Lsf, jobs: Sequence[str]) -> list[JobState]:
    wait_until(lambda: all(state.ended for state in scheduler.poll(jobs).values()))
    states = scheduler.poll(jobs)
    return [states[job] for job in jobs]


def test_jobs_that_need_the_same_are_one_array_whose_indexes_start_at_1(tmp_path: Path) -> None:
    scheduler = Lsf()
    show = "import os; print(os.environ['LSB_JOBID'], os.environ['LSB_JOBINDEX'])"
    paths = [tmp_path / str(number) for number in range(3)]
    jobs = scheduler.submit_many([python(show, stdout=path) for path in paths])
    single = scheduler.submit(python(show, stdout=tmp_path / "single"))
    assert [job.partition(":")[0] for job in (*jobs, single)] == ["1_1", "1_2", "1_3", "2"]
    assert ends_of(scheduler, [*jobs, single]) == [JobState.FINISHED] * 4
    assert [path.read_text() for path in (*paths, tmp_path / "single")] == [
        "1 1\n",
        "1 2\n",
        "1 3\n",
        "2 0\n",
    ]


def test_needs_and_options_are_written_in_lsfs_words() -> None:
    scheduler = Lsf(
        queue="gpu",
        project="p 1",
        app="a",
        group="g",
        select="select[x]",
        gpu="mode=shared",
        options=("-x", "-U r"),
    )
    job = python(
        "pass",
        cpus=4,
        gpus=2,
        memory="1GB",
        time_limit=61,
        name="all [1-5]%3*",
        options=("-sla s",),
    )
    [script] = scheduler.scripts([job])
    argv = list(script.argv)
    assert argv[: argv.index("-cwd")] == [
        "bsub",
        "-J",
        "all__1-5__3_",
        "-Jd",
        "hn:00000000:",
        "-env",
        "all",
    ]
    assert argv[argv.index("-o") :] == [
        *(
            "-o",
            "/dev/null",
            "-n",
            "4",
            "-R",
            "span[hosts=1] select[x] rusage[mem=954MB]",
            "-W",
            "2",
        ),
        *(
            "-gpu",
            "num=2:mode=shared",
            "-q",
            "gpu",
            "-P",
            "p 1",
            "-G",
            "g",
            "-app",
            "a",
            "-rn",
            "-x",
            "-U",
            "r",
            "-sla",
            "s",
        ),
    ]
    [script] = Lsf(memory_per_core=True).scripts([job.model_copy(update={"options": ()})])
    assert "span[hosts=1] rusage[mem=239MB]" in script.argv


def test_gpus_are_asked_for(tmp_path: Path) -> None:
    scheduler = Lsf()
    job = scheduler.submit(
        python(
            "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])", gpus=2, stdout=tmp_path / "seen"
        )
    )
    assert ends_of(scheduler, [job]) == [JobState.FINISHED]
    assert (tmp_path / "seen").read_text() == "0,1\n"


def test_a_job_of_the_drivers_own_is_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSB_JOBNAME", "mine")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("LSF_ENVDIR", "/kept")
    scheduler = Lsf()
    job = scheduler.submit(
        python(
            "import json, os; print(json.dumps(dict(os.environ)))", stdout=tmp_path / "environment"
        )
    )
    ends_of(scheduler, [job])
    environment = json.loads((tmp_path / "environment").read_text())
    assert environment["LSF_ENVDIR"] == "/kept"
    assert not {"LSB_JOBNAME", "CUDA_VISIBLE_DEVICES"} & environment.keys()


def test_an_argument_that_looks_like_an_instruction_is_none(tmp_path: Path) -> None:
    text = "\n#BSUB -W bad\n#BSUB --no-such\n"
    scheduler = Lsf()
    job = scheduler.submit(
        python("import sys; sys.stdout.write(sys.argv[1])", text, stdout=tmp_path / "text")
    )
    assert ends_of(scheduler, [job]) == [JobState.FINISHED]
    assert (tmp_path / "text").read_text() == text


@pytest.mark.parametrize("option", ["-J name", "-o x", "-K", "-I", "-H", "command", "-", "-- x"])
def test_an_option_that_is_none_or_ours_is_refused(option: str) -> None:
    with pytest.raises(SchedulerError, match=r"cannot be given|must begin with a dash"):
        Lsf(options=(option,))


def test_what_lsf_refuses_is_one_line_in_its_own_words() -> None:
    with pytest.raises(
        SchedulerError, match="LSF does not accept the job: nowhere: No such queue"
    ) as caught:
        Lsf(queue="nowhere").submit(python("pass"))
    assert not isinstance(caught.value, SchedulerUnavailableError)


def test_states_have_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSF_STANDIN_MINUTE", "0.3")
    scheduler = Lsf()
    jobs = [
        scheduler.submit(python("raise SystemExit(7)")),
        scheduler.submit(python("import os; os.kill(os.getpid(), 9)")),
        scheduler.submit(python("import time; time.sleep(60)", time_limit=60)),
    ]
    assert ends_of(scheduler, jobs) == [JobState.FAILED] * 3
    assert [scheduler.reason(job) for job in jobs] == [
        "EXIT, exit code 7",
        "EXIT, exit code 137",
        "EXIT, exit code 140: TERM_RUNLIMIT: job killed after reaching LSF run time limit",
    ]


def test_a_waiting_element_can_be_cancelled_alone(lsf: Path) -> None:
    scheduler = Lsf(queue="held")
    jobs = scheduler.submit_many([python("pass")] * 3)
    scheduler.cancel(jobs[:1])
    assert scheduler.poll(jobs) == {
        jobs[0]: JobState.CANCELLED,
        jobs[1]: JobState.QUEUED,
        jobs[2]: JobState.QUEUED,
    }
    for path in lsf.glob("*_2.json"):
        path.unlink()  # LSF has forgotten it
    assert Lsf().poll(jobs) == {
        jobs[0]: JobState.CANCELLED,
        jobs[1]: JobState.LOST,
        jobs[2]: JobState.QUEUED,
    }
    assert scheduler.poll(jobs)[jobs[1]] is JobState.QUEUED  # for a while


def test_a_host_that_does_not_answer_is_no_failure(lsf: Path) -> None:
    scheduler = Lsf(queue="held")
    job = scheduler.submit(python("pass"))
    for path in lsf.glob("*.json"):
        path.write_text(path.read_text().replace('"PEND"', '"UNKWN"'))
    assert scheduler.poll([job])[job] is JobState.RUNNING


def test_a_number_that_was_given_to_another_job_is_not_mistaken() -> None:
    scheduler = Lsf(queue="held")
    job = scheduler.submit(python("pass"))
    earlier = f"{job.partition(':')[0]}:0badbeef"
    scheduler.cancel([earlier])
    assert scheduler.poll([earlier, job]) == {earlier: JobState.LOST, job: JobState.QUEUED}


def test_an_lsf_that_is_down_changes_no_state(lsf: Path) -> None:
    scheduler = Lsf(queue="held", timeout=0.5)
    job = scheduler.submit(python("pass", key="k1"))
    down = lsf / "down"
    down.touch()
    with pytest.raises(SchedulerUnavailableError, match=r"bjobs did not answer within 0\.5 s"):
        scheduler.poll([job])
    with pytest.raises(SchedulerUnavailableError):
        scheduler.cancel([job])
    with pytest.raises(SchedulerUnavailableError):
        scheduler.submit(python("pass", key="k2"))
    down.unlink()
    assert scheduler.poll([job])[job] is JobState.CANCELLED  # as was asked for
    again = scheduler.submit(python("pass", key="k2"))
    assert scheduler.find(["k1", "k2"]) == {"k2": again}


def test_an_answer_that_is_no_json_is_no_answer(
    lsf: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scheduler = Lsf(queue="held")
    job = scheduler.submit(python("pass"))
    broken = tmp_path / "bjobs"
    broken.write_text("#!/bin/sh\necho 'batch system daemon not responding' >&2\nexit 255\n")
    broken.chmod(0o755)
    with monkeypatch.context() as context:
        context.setenv("PATH", str(tmp_path))
        with pytest.raises(SchedulerUnavailableError, match="daemon not responding"):
            scheduler.poll([job])
    assert scheduler.poll([job])[job] is JobState.QUEUED


def test_a_search_over_lsf_that_is_killed_is_resumed(tmp_path: Path) -> None:
    code = (
        "import os, sys, time, json; open('log', 'a').write(sys.argv[1] + '\\n');"
        " time.sleep(0.2);json.dump({'m': int(sys.argv[1][2:])},"
        " open(os.environ['HYPNET_TRIAL_DIR'] + '/summary.json', 'w'))"
    )
    search = {
        "command": [sys.executable, "-S", "-c", code, "{options}"],
        "style": "key=value",
        "metric": "m",
        "direction": "minimize",
        "grid": {"x": list(range(6))},
        "scheduler": {"name": "lsf", "poll_interval": 0.1, "array_size": 2, "max_jobs": 2},
    }
    (tmp_path / "search.yaml").write_text(json.dumps(search))
    command = [*HYPNET, "search", "run", "search.yaml", "--out", "out"]
    driver = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until((tmp_path / "log").exists)
    driver.kill()
    driver.wait()
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert sorted((tmp_path / "log").read_text().split()) == [f"x={number}" for number in range(6)]
