"""Notices of a search: a command or a webhook, at its end and first failure."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from hypnet_hpsearch._text import error_in_one_line, in_one_line
from hypnet_hpsearch.spec.notify import Event, Notify
from hypnet_hpsearch.spec.spec import SearchSpec

__all__ = ["Notices"]

_PATIENCE = 20.0  # seconds for a command or an answer


class Notices:
    """Sends notices without holding up the driver, and warns if one cannot be sent.

    Args:
        spec: The search.
        directory: Its directory.
        warned: Called with a message if a notice could not be sent.
    """

    def __init__(self, spec: SearchSpec, directory: str, warned: Callable[[str], None]) -> None:
        self._notify, self._name, self._directory = spec.notify, spec.name, directory
        self._warned = warned
        self._problems: list[str] = []
        self._threads: list[threading.Thread] = []

    def send(self, event: Event, message: str) -> None:
        """Send a notice, if the search asks for one at such an event.

        Args:
            event: What has happened.
            message: About it, in one line.
        """
        if self._notify is None or event not in self._notify.on:
            return
        about = {
            "event": event,
            "search": self._name,
            "directory": self._directory,
            "message": message,
        }
        thread = threading.Thread(target=self._send, args=(self._notify, about), daemon=True)
        thread.start()
        self._threads.append(thread)

    def tell_problems(self) -> None:
        """Warn about notices that could not be sent so far."""
        while self._problems:
            self._warned(self._problems.pop())

    def close(self) -> None:
        """Wait until all notices have been sent."""
        for thread in self._threads:
            thread.join(_PATIENCE + 5)
        self.tell_problems()

    def _send(self, notify: Notify, about: dict[str, str]) -> None:
        for send in (_run, _post):
            try:
                send(notify, about)
            except (
                OSError,
                ValueError,
                subprocess.SubprocessError,
                http.client.HTTPException,
            ) as e:
                self._problems.append(f"a notice could not be sent: {error_in_one_line(e)}")


def _run(notify: Notify, about: dict[str, str]) -> None:
    if not notify.command:
        return
    argv = [notify.filled(item, about) for item in notify.command]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False
    )
    if done.returncode:
        said = in_one_line(done.stderr.decode(errors="replace")) or f"exit code {done.returncode}"
        raise subprocess.SubprocessError(f"{argv[0]}: {said}")


def _post(notify: Notify, about: dict[str, Any]) -> None:
    if notify.webhook is None:
        return
    # Chat services show the field `text`.
    content = {**about, "text": f"{about['search']}: {about['message']}"}
    request = urllib.request.Request(  # noqa: S310  the scheme was checked
        notify.webhook,
        data=json.dumps(content).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "hypnet"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        raise OSError(f"{notify.webhook} answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise OSError(f"{notify.webhook}: {error.reason}") from None
