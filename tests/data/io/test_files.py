from __future__ import annotations

import contextlib
import hashlib
import http.server
import logging
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import ConfigError, DataError
from hypnet_data._io.downloads import data_file
from hypnet_data._io.files import Source, data_directory, obtain

CONTENT = bytes(range(256)) * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "file.gz"


@pytest.fixture
def served(server: Any) -> Any:
    (server.folder / "file.gz").write_bytes(CONTENT)
    return server


def leftovers(folder: Path) -> list[str]:
    return (
        [path.name for path in folder.iterdir() if path.name.endswith(".part")]
        if folder.exists()
        else []
    )


def seen(folder: Path) -> list[str]:
    """The names of the files in a folder, apart from locks."""
    return [
        path.name
        for path in folder.iterdir()
        if not (path.name.startswith(".") and path.name.endswith(".lock"))
    ]


def test_the_data_directory_is_chosen_or_named_by_the_environment_or_in_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("USERPROFILE", "/home/somebody")
    monkeypatch.delenv("HYPNET_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data_directory() == Path("/home/somebody/.cache/hypnet")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_directory() == Path("/cache/hypnet")
    monkeypatch.setenv("HYPNET_DATA", "~/data")
    assert data_directory() == Path("/home/somebody/data")
    assert data_directory(Path("~/mine")) == data_directory("~/mine") == Path("/home/somebody/mine")


def test_a_download_arrives_whole_and_says_what_whence_and_how_big(
    served: Any, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert obtain(target, [served.url], md5=MD5, download=True) == target
    assert target.read_bytes() == CONTENT
    assert leftovers(target.parent) == []
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        record.getMessage()
        == f"downloading file.gz (0.3 MB) from {served.url}file.gz to {target.parent}"
    )


def test_a_file_that_is_there_and_right_is_not_downloaded_again(served: Any, target: Path) -> None:
    for _ in range(2):
        obtain(target, [served.url], md5=MD5, download=True)
    assert served.requests == ["file.gz"]


@pytest.mark.parametrize("damaged", [b"", CONTENT[:-1], b"x" + CONTENT[1:]])
def test_a_damaged_file_is_downloaded_again(served: Any, target: Path, damaged: bytes) -> None:
    target.parent.mkdir()
    target.write_bytes(damaged)
    obtain(target, [served.url], md5=MD5, download=True)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (None, "is missing"),
        (b"", "is empty"),
        (b"x" + CONTENT[1:], rf"is damaged \(its MD5.* should be {MD5}"),
    ],
)
def test_without_leave_to_download_the_error_says_what_is_wrong_with_which_file(
    target: Path, damaged: bytes | None, message: str
) -> None:
    if damaged is not None:
        target.parent.mkdir()
        target.write_bytes(damaged)
    with pytest.raises(DataError, match=rf"file\.gz {message}.*: set download=true"):
        obtain(target, [], md5=MD5, download=False)


def test_the_next_mirror_is_tried_where_one_fails(served: Any, target: Path) -> None:
    obtain(target, ["http://127.0.0.1:1/", served.url], md5=MD5, download=True)
    assert target.read_bytes() == CONTENT


def test_a_missing_file_on_the_server_is_an_error_with_address_and_status(
    server: Any, target: Path
) -> None:
    with pytest.raises(
        DataError,
        match=(
            rf"cannot download file\.gz \({server.url}file\.gz: HTTP 404 Not Found\): check the"
            r" network"
        ),
    ) as caught:
        obtain(target, [server.url], md5=MD5, download=True)
    assert str(target) in str(caught.value)
    assert not target.exists()


def test_no_network_is_an_error_that_says_so(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(
        DataError, match=r"cannot download file\.gz \(http://127\.0\.0\.1:1/file\.gz: .*refused"
    ):
        obtain(target, ["http://127.0.0.1:1/"], md5=MD5, download=True)


@pytest.mark.parametrize("md5", [MD5, None])
def test_a_truncated_answer_leaves_nothing_behind(
    served: Any, target: Path, md5: str | None
) -> None:
    def cut(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2])

    served.behaviour = cut
    with pytest.raises(DataError, match=r"128000 of 256000 bytes|IncompleteRead"):
        obtain(target, [served.url], md5=md5, download=True)
    assert seen(target.parent) == []


def test_a_server_that_hangs_up_is_an_error_that_says_so(served: Any, target: Path) -> None:
    served.behaviour = lambda handler, content: handler.connection.close()
    with pytest.raises(DataError, match=r"cannot download file\.gz"):
        obtain(target, [served.url], md5=MD5, download=True)
    assert seen(target.parent) == []


def test_an_answer_that_breaks_off_between_chunks_leaves_nothing_behind(
    served: Any, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def cut(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"400\r\n" + content[:0x400] + b"\r\n400\r\nhalf a chunk")

    served.behaviour = cut
    with pytest.raises(DataError, match=r"cannot download file\.gz"):
        obtain(target, [served.url], md5=None, download=True)
    assert seen(target.parent) == []
    assert "(size unknown)" in caplog.text


def test_small_files_are_measured_in_kilobytes(
    server: Any, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (server.folder / "file.gz").write_bytes(bytes(4542))
    obtain(target, [server.url], md5=None, download=True)
    assert "downloading file.gz (4.5 kB)" in caplog.text


def test_an_answer_with_other_content_leaves_nothing_behind(served: Any, target: Path) -> None:
    (served.folder / "file.gz").write_bytes(b"a login page")
    with pytest.raises(
        DataError,
        match=f"MD5 checksum {hashlib.md5(b'a login page').hexdigest()}, should have {MD5}",
    ):
        obtain(target, [served.url], md5=MD5, download=True)
    assert seen(target.parent) == []


def test_a_failed_download_leaves_the_old_file_alone(served: Any, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    (served.folder / "file.gz").write_bytes(b"a login page")
    with pytest.raises(DataError):
        obtain(target, [served.url], md5=MD5, download=True)
    assert target.read_bytes() == b"old"


def test_only_web_addresses_are_mirrors(target: Path) -> None:
    with pytest.raises(ConfigError, match="http:// or https://"):
        obtain(target, ["file:///etc/"], md5=None, download=True)
    with pytest.raises(DataError, match="no mirrors were given"):
        obtain(target, [], md5=None, download=True)


def answer(
    status: int, content: bytes, **headers: str
) -> Callable[[http.server.BaseHTTPRequestHandler, bytes], None]:
    def behaviour(handler: http.server.BaseHTTPRequestHandler, _content: bytes) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return behaviour


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (answer(206, CONTENT[:10]), "HTTP 206 Partial Content"),
        (answer(203, CONTENT), "HTTP 203"),
        (answer(204, b""), "HTTP 204 No Content"),
        (answer(200, b""), "the answer is empty"),
        (
            answer(302, b"", Location="ftp://127.0.0.1/file.gz"),
            "redirects to ftp://127.0.0.1/file.gz",
        ),
        (
            answer(302, b"", Location="file:///etc/hostname"),
            "redirects to file:///etc/hostname|302",
        ),
        (answer(302, b"", Location="http://[/file.gz"), "cannot download"),
    ],
)
def test_an_answer_that_is_not_the_file_is_an_error_and_leaves_nothing(
    served: Any, target: Path, behaviour: Any, message: str
) -> None:
    served.behaviour = behaviour
    with pytest.raises(DataError, match=message):
        obtain(target, [served.url], md5=None, download=True)
    assert not target.exists()
    assert leftovers(target.parent) == []


@pytest.mark.parametrize(
    "address",
    [
        "http://",
        "http://[::1/",
        "http://127.0.0.1:port/",
        "http://127.0.0.1:99999/",
        "http://a..b/",
        "http://a b/",
    ],
)
def test_the_next_mirror_is_tried_where_an_address_is_impossible(
    served: Any, target: Path, address: str
) -> None:
    with pytest.raises(DataError, match=r"cannot download file\.gz"):
        obtain(target, [address], md5=MD5, download=True)
    obtain(target, [address, served.url], md5=MD5, download=True)
    assert target.read_bytes() == CONTENT


def test_two_that_download_the_same_file_at_once_both_get_it_whole(
    served: Any, target: Path
) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(
                obtain(target, [served.url], md5=MD5, download=True).read_bytes()
            )
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 6
    assert served.requests == ["file.gz"]  # the others waited for the first
    assert leftovers(target.parent) == []


def test_a_file_takes_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with data_file(path) as file:
            file.write(b"half")
            file.flush()
            assert path.read_bytes() == b"old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_new_file_may_be_read_by_others_as_the_umask_says(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with data_file(path) as file:
        file.write(b"new")
    reference = tmp_path / "reference"
    reference.write_bytes(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(reference.stat().st_mode)


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "in the way").write_bytes(b"")
    with (
        pytest.raises(DataError, match=r"cannot write .*in the way/file: "),
        data_file(tmp_path / "in the way" / "file"),
    ):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_that_says_so(tmp_path: Path) -> None:
    def written() -> None:
        with data_file(tmp_path / "file") as file, Path("/dev/full").open("wb") as full:
            os.dup2(full.fileno(), file.fileno())
            file.write(CONTENT)

    with pytest.raises(DataError, match="No space left on device; make room"):
        written()
    assert list(tmp_path.iterdir()) == []


FETCH = """
import sys
from pathlib import Path
from hypnet_data._io.files import obtain
obtain(Path(sys.argv[1]), [sys.argv[2]], md5=sys.argv[3], download=True)
"""


def test_two_processes_that_want_the_same_file_download_it_once(served: Any, target: Path) -> None:
    arguments = [sys.executable, "-c", FETCH, str(target), served.url, MD5]
    running = [subprocess.Popen(arguments) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert target.read_bytes() == CONTENT
    assert served.requests == ["file.gz"]


def test_a_process_that_is_killed_while_it_downloads_stops_nobody(
    served: Any, target: Path
) -> None:
    stalled = threading.Event()

    def stall(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:1000])
        handler.wfile.flush()
        stalled.wait(30)

    served.behaviour = stall
    process = subprocess.Popen(
        [sys.executable, "-c", FETCH, str(target), served.url, MD5], stderr=subprocess.DEVNULL
    )
    while not leftovers(target.parent):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    stalled.set()
    assert not target.exists()
    served.behaviour = None
    assert obtain(target, [served.url], md5=MD5, download=True).read_bytes() == CONTENT


def test_a_disk_that_is_full_in_mid_download_is_an_error_and_leaves_nothing_behind(
    served: Any, target: Path
) -> None:
    """A limit on the size of files acts like a full disk."""
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + FETCH, str(target), served.url, MD5],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(
        r"DataError: cannot write .*file\.gz: .*make room, or choose another data_dir", done.stderr
    )
    assert seen(target.parent) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_a_bar_counts_the_bytes(served: Any, target: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    code = "import logging; logging.getLogger('hypnet').setLevel(logging.INFO)" + FETCH
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(target), served.url, MD5], stderr=theirs, env=environment
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # the end of a pseudo-terminal
        while part := os.read(ours, 4096):
            said += part
    os.close(ours)
    assert process.wait(60) == 0
    assert "downloading file.gz (0.3 MB)" in said.decode()
    assert re.search(r"file\.gz.*━.*256\.0 kB", said.decode(), re.DOTALL)


def test_elsewhere_lines_count_the_bytes(
    served: Any, target: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("hypnet_core.runs.progress")
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, "hypnet.progress"):
        obtain(target, [served.url], md5=MD5, download=True)
    assert "file.gz  0.3 MB of 0.3 MB" in caplog.text


def test_nobody_is_told_how_far_it_is_where_logging_is_off(served: Any, target: Path) -> None:
    code = "import logging; logging.getLogger('hypnet').setLevel(logging.ERROR)" + FETCH
    done = subprocess.run(
        [sys.executable, "-c", code, str(target), served.url, MD5],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_one_address_in_place_of_a_list_is_refused(served: Any, target: Path) -> None:
    with pytest.raises(
        ConfigError, match="mirrors must be a list of addresses, got the text 'http"
    ):
        obtain(target, served.url, md5=MD5, download=True)
    with pytest.raises(ConfigError, match="mirrors must be a list"):
        Source(target, served.url)
    assert served.requests == []


def test_whatever_is_in_the_way_of_the_file_is_named_before_anything_is_asked_of_the_network(
    served: Any, tmp_path: Path
) -> None:
    (tmp_path / "a file").write_bytes(b"")
    (tmp_path / "a folder").mkdir()
    for path, message in (
        (
            tmp_path / "a file" / "file.gz",
            "cannot read .*file.gz: Not a directory; choose another data_dir",
        ),
        (tmp_path / "a folder", "is a folder, but should be a file"),
        (
            Path("/proc/nothing/file.gz"),
            "cannot make the folder /proc/nothing: .*; choose another data_dir",
        ),
    ):
        with pytest.raises(DataError, match=message):
            obtain(path, [served.url], md5=MD5, download=True)
    assert served.requests == []


@pytest.mark.skipif(
    os.name != "posix" or os.getuid() == 0, reason="the superuser may write everywhere"
)
def test_a_folder_without_permission_is_named(served: Any, target: Path) -> None:
    target.parent.mkdir(mode=0o500)
    with pytest.raises(DataError, match=r"cannot write in the folder .*no permission"):
        obtain(target, [served.url], md5=MD5, download=True)
    assert served.requests == []


def test_the_lock_is_beside_the_file_or_in_a_folder_of_the_users_own(
    served: Any, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    obtain(target, [served.url], md5=MD5, download=True)
    assert sorted(path.name for path in target.parent.iterdir()) == [".file.gz.lock", "file.gz"]
    assert list(temporary.iterdir()) == []
    blocked = tmp_path / "blocked" / "file.gz"
    (blocked.parent / ".file.gz.lock").mkdir(parents=True)
    obtain(blocked, [served.url], md5=MD5, download=True)
    [own] = temporary.iterdir()
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    own.rename(tmp_path / "elsewhere")
    own.write_bytes(b"in the way")
    blocked.unlink()
    with pytest.raises(DataError, match=r"cannot lock .*file\.gz while it is prepared: "):
        obtain(blocked, [served.url], md5=MD5, download=True)


def test_what_is_left_of_killed_downloads_goes_with_the_next_one(served: Any, target: Path) -> None:
    target.parent.mkdir()
    for name in (".file.gz.0a1b2c3d.part", ".other.gz.0a1b2c3d.part"):
        (target.parent / name).write_bytes(b"half")
    obtain(target, [served.url], md5=MD5, download=True)
    assert leftovers(target.parent) == [".other.gz.0a1b2c3d.part"]
