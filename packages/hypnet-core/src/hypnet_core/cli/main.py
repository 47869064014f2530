"""Entry point of `hypnet`: every error becomes one line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer

from hypnet_core.cli.app import (
    ClosedPipeError,
    InterruptedByUserError,
    Terminated,
    TerminatedError,
    make_command,
)
from hypnet_core.cli.paths import at_home, working_directory_importable
from hypnet_core.cli.settings import Settings, complain, start_logging
from hypnet_core.errors import HypnetError, error_line
from hypnet_core.plugins.containment import crash_reports, story_of
from hypnet_core.plugins.registry import registry

# The base of typer's usage errors. Newer versions of typer carry their own copy of
# click, so its name cannot be imported.
_ClickException = typer.BadParameter.__mro__[2]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave with its exit code.

    0 is success, 1 a failure, 2 wrong usage, 130 an interruption by Ctrl-C, 143 one by
    SIGTERM.

    Args:
        arguments: Those of the command line by default.
    """
    settings = Settings()
    _prepare_streams()
    # Batch systems end jobs with SIGTERM; runs must stop in order as after Ctrl-C.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments, settings)
        settings.announce()
        # A full disk or a closed pipe shows here, not at interpreter exit.
        sys.stdout.flush()
    # Before `KeyboardInterrupt`, from which it inherits.
    except Terminated:
        complain(["terminated"])
        code = TerminatedError.exit_code
    except KeyboardInterrupt:
        complain(["interrupted"])
        code = InterruptedByUserError.exit_code
    except BrokenPipeError:
        code = ClosedPipeError.exit_code
    if code == ClosedPipeError.exit_code:
        _forget_stdout()
    sys.exit(code)


def _prepare_streams() -> None:
    """Make output possible in any encoding, and without streams.

    Characters that an encoding lacks are escaped. A stream that was closed is replaced
    by one in memory.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _run(arguments: Sequence[str], settings: Settings) -> int:
    start_logging(settings)
    # Before anything is loaded, which may end this process too.
    complain(crash_reports())
    try:
        command = make_command(registry(), settings)
        # After the plugins were found: a folder of the user's must not become one.
        with working_directory_importable():
            result = command.main(
                args=list(map(at_home, arguments)),
                prog_name="hypnet",
                standalone_mode=False,
                obj=settings,
            )
    # The reader has gone, so there is nobody to report to.
    except ClosedPipeError as error:
        return error.exit_code
    except HypnetError as error:
        _report(error, str(error), settings)
        return error.exit_code
    # The user declined a prompt of a plugin's command.
    except typer.Abort:
        complain(["aborted"])
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    # A full disk or a missing permission needs no class name in its line.
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _report(error, f"{where}{error.strerror or error}", settings)
        return 1
    # A command of a plugin may leave by itself.
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  one line; --debug shows the rest
        return _unforeseen(error, settings)
    return result if isinstance(result, int) else 0


def _unforeseen(error: BaseException, settings: Settings) -> int:
    if isinstance(error, _ClickException):
        message: str = getattr(error, "format_message", error.__str__)()
        # Known by name, since its module differs between versions of typer.
        if type(error).__name__ == "NoArgsIsHelpError":
            if message:  # with rich, typer has printed it already
                typer.echo(message)
        else:
            context = getattr(error, "ctx", None)
            path = context.command_path if context is not None else "hypnet"
            _report(error, f"{message.strip().rstrip('.')} (see `{path} --help`)", settings)
        return int(getattr(error, "exit_code", 2))
    _report(error, f"{error_line(error)} (unforeseen; --debug shows where)", settings)
    return 1


def _report(error: BaseException, message: str, settings: Settings) -> None:
    settings.announce()
    if settings.debug:
        typer.echo(story_of(error), err=True, nl=False)
    complain(message.splitlines())


def _forget_stdout() -> None:
    """Redirect stdout to the null device, so that flushing at exit cannot fail."""
    # stdout may have no descriptor, for example under a test.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
