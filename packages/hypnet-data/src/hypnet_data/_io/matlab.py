"""MATLAB files, read in a process of their own: damaged ones can crash scipy's reader.

`python -m hypnet_data._io.matlab FILE OUT NAME…` writes the variables to `OUT`, a file
of plain numpy arrays.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnet_core.errors import DataError, message_of

_FAILED = 3
"""Exit status of the process when scipy refuses a file."""


def read_matlab(
    file: Path, names: Sequence[str], *, expected: str, remedy: str
) -> dict[str, NDArray[Any]]:
    """Read variables of a MATLAB file, up to its version 7.

    Args:
        file: The file.
        names: Variables, `"X"`, or fields of an array of structures, `"synsets.WNID"`:
            one value per structure.
        expected: What the file should be, for the error message.
        remedy: What to do about it.

    Raises:
        DataError: The file cannot be read or is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="hypnet-") as folder:
        out = Path(folder) / "arrays.npz"
        command = [sys.executable, "-P", "-m", __name__, str(file), str(out), *names]
        # The same packages as here, wherever they were found.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": path},
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        if done.returncode:
            raise _error(done, file, expected, remedy)
        try:
            with np.load(out, allow_pickle=False) as arrays:
                return {name: arrays[f"arr_{place}"] for place, name in enumerate(names)}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, MemoryError) as error:
            raise DataError(f"the content of {file} cannot be kept: {message_of(error)}") from error


def _error(
    done: subprocess.CompletedProcess[bytes], file: Path, expected: str, remedy: str
) -> DataError:
    if done.returncode == _FAILED:
        reason = json.loads(done.stdout)
        if reason["system"]:
            return DataError(f"cannot read {file}: {reason['message']}")
        return DataError(f"{file} is not {expected} ({reason['message']}): {remedy}")
    # A negative status is the signal that stopped the process.
    how = (
        f"{signal.Signals(-done.returncode).name} stopped its reader"
        if -done.returncode in {*signal.Signals}
        else f"its reader ended with status {done.returncode}"
    )
    return DataError(f"{file} is not {expected} ({how}): {remedy}")


def _arrays(file: str, names: Sequence[str]) -> list[NDArray[Any]]:
    from scipy.io import loadmat

    content = loadmat(file, variable_names=[name.partition(".")[0] for name in names])
    found = []
    for name in names:
        variable, _, field = name.partition(".")
        values = np.asarray(content[variable])
        found.append(_field(values, field) if field else values)
        if found[-1].dtype.hasobject:
            raise ValueError(f"{name} is not an array of numbers or texts")
    return found


def _field(structures: NDArray[Any], field: str) -> NDArray[Any]:
    """One value per structure, which MATLAB keeps as arrays of one entry."""
    values = [np.asarray(value).reshape(-1) for value in structures[field].reshape(-1)]
    # A text without characters has no entries.
    return np.array([value[0] if len(value) else "" for value in values])


def _main(file: str, out: str, names: Sequence[str]) -> int:
    try:
        np.savez(out, *_arrays(file, names), allow_pickle=False)
    # scipy's reader fails in many ways on a damaged file.
    except Exception as error:  # noqa: BLE001
        # scipy raises `OSError` without a number for damaged content.
        number = error.errno if isinstance(error, OSError) else None
        message = message_of(error) if number is None else os.strerror(number)
        sys.stdout.write(json.dumps({"system": number is not None, "message": message}))
        return _FAILED
    return 0


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1], sys.argv[2], sys.argv[3:]))
