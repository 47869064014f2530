"""A stand-in for LSF: bsub, bjobs and bkill in the words of LSF 10.1.

Each job is a process of this machine.

It is not LSF.

`python lsf_standin.py bsub …` is what a link called `bsub` runs. Everything is kept in
the directory `LSF_STANDIN`: a record per job, and a file `down` as long as LSF is to be
down. What it keeps as LSF does:

- `#BSUB` lines count wherever they stand in a script on standard input; an option of
  the command line wins.
- Indexes of arrays start at 1, `LSB_JOBINDEX` is 0 outside an array; `-W` is in minutes
  (of `LSF_STANDIN_MINUTE` seconds).
- bjobs gives an error record for an unknown job, and 255 as exit code; bkill complains
  about jobs that have ended.
- Jobs killed by their owner have 130 as exit code, those over their time limit 140.
- Jobs in the queue `held` wait for ever; there is no queue `nowhere`.
"""

# ruff: noqa: T201  # commands print

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

HOME = Path(os.environ.get("LSF_STANDIN", "nowhere"))
MINUTE = float(os.environ.get("LSF_STANDIN_MINUTE", "60"))
FLAGS = {"-r", "-rn", "-x", "-H", "-N", "-B", "-K", "-I"}
VALUES = {
    "-J",
    "-Jd",
    "-q",
    "-n",
    "-R",
    "-M",
    "-W",
    "-o",
    "-e",
    "-cwd",
    "-gpu",
    "-P",
    "-G",
    "-env",
    "-app",
    "-U",
    "-sla",
    "-m",
    "-b",
}
FIELDS = {
    "JOBID",
    "JOBINDEX",
    "STAT",
    "QUEUE",
    "JOB_NAME",
    "JOB_DESCRIPTION",
    "EXIT_CODE",
    "EXIT_REASON",
}
OWNER = "TERM_OWNER: job killed by owner"
RUNLIMIT = "TERM_RUNLIMIT: job killed after reaching LSF run time limit"


def fail(text: str) -> None:
    print(text, file=sys.stderr)
    sys.exit(255)


def options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    found: dict[str, str] = {}
    while words and words[0].startswith("-"):
        word, *words = words
        if word in FLAGS:
            found[word] = ""
        elif word in VALUES and words:
            found[word], *words = words
        else:
            fail(f"{word}: Illegal option.\nJob not submitted.")
    return found, words


def bsub(words: list[str]) -> None:
    chosen, command = options(words)
    if command:
        fail("the stand-in takes a script on standard input only. Job not submitted.")
    script = sys.stdin.buffer.read()
    for line in script.decode(errors="replace").splitlines():
        if line.startswith("#BSUB"):
            chosen = {**options(shlex.split(line[5:]))[0], **chosen}
    if chosen.get("-q") == "nowhere":
        fail("nowhere: No such queue. Job not submitted.")
    if "-W" in chosen and not re.fullmatch(r"(\d+:)?\d+", chosen["-W"]):
        fail(f"{chosen['-W']}: Bad RUNLIMIT specification. Job not submitted.")
    memory = re.search(r"rusage\[mem=([^\]]*)\]", chosen.get("-R", ""))
    if memory and not re.fullmatch(r"\d+(KB|MB|GB|TB)", memory[1]):
        fail("Bad resource requirement syntax. Job not submitted.")
    number = 1 + sum(path.suffix == ".script" for path in HOME.iterdir())
    path = HOME / f"{number}.script"
    path.write_bytes(script)
    path.chmod(0o755)
    name = re.fullmatch(r"(.*?)(?:\[1-(\d+)\])?", chosen.get("-J", "job"))
    assert name is not None
    count = int(name[2] or 0)
    for index in range(1, count + 1) if count else (0,):
        record = {
            "JOBID": str(number),
            "JOBINDEX": str(index),
            "STAT": "PEND",
            "QUEUE": chosen.get("-q", "normal"),
            "JOB_NAME": f"{name[1]}[{index}]" if index else name[1],
            "JOB_DESCRIPTION": chosen.get("-Jd", ""),
            "EXIT_CODE": "",
            "EXIT_REASON": "",
        }
        write(record)
        if chosen.get("-q") != "held":
            supervise(record, path, chosen)
    print("Your esub says hello.")  # sites' own checks print what they like
    print(f"Job <{number}> is submitted to default queue <normal>.")


def supervise(record: dict[str, str], script: Path, chosen: dict[str, str]) -> None:
    """Run a job in a process of its own, which nobody waits for."""
    sys.stdout.flush()
    if os.fork():
        return
    os.setsid()
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silence, descriptor)
    environment = {**os.environ, "LSB_JOBID": record["JOBID"], "LSB_JOBINDEX": record["JOBINDEX"]}
    if "-gpu" in chosen:
        gpus = re.search(r"num=(\d+)", chosen["-gpu"])
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, range(int(gpus[1] if gpus else 1))))
    job = subprocess.Popen(
        [script], cwd=chosen.get("-cwd"), env=environment, start_new_session=True
    )
    write({**record, "STAT": "RUN", "pid": str(job.pid)})
    limit = (
        sum(int(part) * 60**power for power, part in enumerate(reversed(chosen["-W"].split(":"))))
        if "-W" in chosen
        else None
    )
    try:
        code, why = job.wait(None if limit is None else limit * MINUTE), ""
    except subprocess.TimeoutExpired:
        end(job.pid)
        job.wait()
        code, why = 140, RUNLIMIT
    if (HOME / f"{record['JOBID']}_{record['JOBINDEX']}.killed").exists():
        code, why = 130, OWNER
    code = 128 - code if code < 0 else code
    write(
        {
            **record,
            "STAT": "EXIT" if code else "DONE",
            "EXIT_CODE": str(code or ""),
            "EXIT_REASON": why,
        }
    )
    os._exit(0)


def end(pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(pid, number)
        time.sleep(0.3)


def write(record: dict[str, str]) -> None:
    path = HOME / f"{record['JOBID']}_{record['JOBINDEX']}.json"
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(record))
    beside.replace(path)


def read(name: str) -> Iterator[dict[str, str]]:
    """The records of a job, of one element of an array, or of all."""
    found = re.fullmatch(r"(\d+)(?:\[(\d+)\])?", name)
    pattern = "*" if name == "*" else f"{found[1]}_{found[2] or '*'}" if found else "none"
    for path in sorted(HOME.glob(f"{pattern}.json")):
        yield json.loads(path.read_text())


def bjobs(words: list[str]) -> None:
    everything = "-a" in words
    words = [word for word in words if word not in {"-a", "-json"}]
    fields = words[words.index("-o") + 1].upper().split()
    wanted = [word for word in words if word != "-o" and word.upper().split() != fields]
    if not set(fields) <= FIELDS:
        fail(f"{set(fields) - FIELDS}: unknown field")
    records: list[dict[str, Any]] = []
    for name in wanted or ["*"]:
        found = list(read(name))
        records += [
            record
            for record in found
            if wanted or everything or record["STAT"] not in {"DONE", "EXIT"}
        ]
        records += [] if found or not wanted else [{"ERROR": f"Job <{name}> is not found"}]
    shown = [
        record if "ERROR" in record else {field: record[field] for field in fields}
        for record in records
    ]
    print(json.dumps({"COMMAND": "bjobs", "JOBS": len(shown), "RECORDS": shown}))
    sys.exit(255 if any("ERROR" in record for record in records) else 0)


def bkill(words: list[str]) -> None:
    code = 0
    for name in words:
        found = list(read(name))
        if not found:
            print(f"Job <{name}>: No matching job found", file=sys.stderr)
            code = 255
        for record in found:
            if record["STAT"] in {"DONE", "EXIT"}:
                print(f"Job <{name}>: Job has already finished", file=sys.stderr)
                code = 255
            else:
                (HOME / f"{record['JOBID']}_{record['JOBINDEX']}.killed").touch()
                if record["STAT"] == "RUN":
                    end(int(record["pid"]))
                else:
                    write({**record, "STAT": "EXIT", "EXIT_CODE": "130", "EXIT_REASON": OWNER})
                print(f"Job <{name}> is being terminated")
    sys.exit(code)


if __name__ == "__main__":
    if (HOME / "down").exists():
        print("LSF is down. Please wait ...", file=sys.stderr, flush=True)
        time.sleep(600)
    {"bsub": bsub, "bjobs": bjobs, "bkill": bkill}[sys.argv[1]](sys.argv[2:])
