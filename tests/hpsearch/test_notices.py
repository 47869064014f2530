"""Notices of a search: to programs and webhooks, at its end and first failure."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from hypnet_core.errors import ConfigError
from hypnet_hpsearch import SearchSpec

NOTE = [sys.executable, "-S", "-c", "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + '\\n')"]


def notes(workshop: Any) -> list[str]:
    path = workshop.path / "notes"
    return path.read_text().splitlines() if path.exists() else []


def to_notes(workshop: Any, **more: Any) -> dict[str, Any]:
    text = "{event}|{search}|{message}|{directory}|{{"
    return {"command": [*NOTE, str(workshop.path / "notes"), text], **more}


def test_a_program_is_told_of_the_first_failure_and_of_the_end(workshop: Any) -> None:
    workshop.body("if options['x'] in '23': sys.exit('it broke')")
    search = workshop.run(
        grid={"x": [1, 2, 3, 4]},
        notify=to_notes(workshop),
        scheduler={"name": "local", "slots": 1},
    )
    failed = next(row for row in search.results() if row.options["x"] == 2)
    assert notes(workshop) == [
        f"failure|x|the trial {failed.trial} failed: exit code 1: it broke|{workshop.out}|{{",
        f"end|x|2 of 4 trials done, 2 failed; best score: 4|{workshop.out}|{{",
    ]


def test_only_the_events_that_are_asked_for_are_told(workshop: Any) -> None:
    workshop.body("sys.exit(1)")
    workshop.run(grid={"x": [1]}, notify=to_notes(workshop, on=["end"]))
    assert [note.partition("|")[0] for note in notes(workshop)] == ["end"]


def test_the_end_is_told_when_a_search_is_stopped(workshop: Any) -> None:
    class Stop:
        slots, poll_interval = 1, 0.01

        def submit(self, job: Any) -> str:
            raise KeyboardInterrupt("that is enough")

        def poll(self, ids: Any) -> dict[str, Any]:
            return {}

        def cancel(self, ids: Any) -> None:
            """Nothing runs."""

    search = workshop.search(grid={"x": [1]}, notify=to_notes(workshop))
    with pytest.raises(KeyboardInterrupt):
        search.run(Stop())
    [note] = notes(workshop)
    assert note.startswith("end|x|the search has stopped: that is enough|")


@pytest.fixture
def posts() -> Iterator[tuple[str, list[Any]]]:
    """The address of a web server, and what was posted to it."""
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(404 if self.path == "/nowhere" else 200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_receives_json(workshop: Any, posts: tuple[str, list[Any]]) -> None:
    address, received = posts
    workshop.run(grid={"x": [1]}, notify={"webhook": f"{address}/hook"})
    assert received == [
        (
            "/hook",
            "application/json",
            {
                "event": "end",
                "search": "x",
                "directory": str(workshop.out),
                "message": "1 of 1 trials done, 0 failed; best score: 1",
                "text": "x: 1 of 1 trials done, 0 failed; best score: 1",
            },
        )
    ]


@pytest.mark.parametrize(
    ("notify", "problem"),
    [
        ({"command": ["no-such-program"]}, "No such file or directory"),
        ({"command": [sys.executable, "-c", "raise SystemExit('no')"]}, ": no"),
        ({"webhook": "http://127.0.0.1:9/"}, "http://127.0.0.1:9/: "),
        ({"webhook": "{address}/nowhere"}, "/nowhere answers 404"),
    ],
)
def test_a_notice_that_cannot_be_sent_is_a_warning(
    workshop: Any, posts: tuple[str, list[Any]], notify: dict[str, Any], problem: str
) -> None:
    if "webhook" in notify:
        notify = {"webhook": notify["webhook"].replace("{address}", posts[0])}
    file = workshop.file(grid={"x": [1]}, notify=notify)
    done = workshop.command("run", file, "--out", "out")
    assert done.returncode == 0
    [line] = [one for one in done.stderr.splitlines() if "a notice could not be sent" in one]
    assert problem in line


@pytest.mark.parametrize(
    ("notify", "message"),
    [
        ({}, "notify: give a 'command' or a 'webhook'"),
        ({"command": ["x", "{mesage}"]}, "there is no {mesage}; did you mean 'message'?"),
        ({"webhook": "ftp://x"}, "webhook"),
        ({"command": ["x"], "on": ["start"]}, "on"),
    ],
)
def test_mistakes_are_named(notify: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SearchSpec(
            name="x",
            command=["x", "{options}"],
            grid={"x": [1]},
            metric="m",
            direction="minimize",
            notify=notify,
        )
    assert message in str(caught.value)
