"""Runs: executions of an experiment, each in a directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from filelock import FileLock, Timeout
from pydantic import BaseModel

from hypnet_core.errors import CheckpointError, RunError
from hypnet_core.runs.config import check_finite, difference
from hypnet_core.runs.files import append_line, make_directory, read_json, write_json
from hypnet_core.runs.logfile import file_logger

if TYPE_CHECKING:
    from torch import Tensor

    from hypnet_core.runs.checkpoint import Checkpoint
    from hypnet_core.runs.checkpoints import Checkpoints
    from hypnet_core.runs.keeping import CheckpointOptions


class Run:
    """One execution of an experiment, which owns its directory.

    | file | holds |
    | --- | --- |
    | `config.json` | the experiment, its resolved configuration, and versions |
    | `metrics.jsonl` | one JSON object per line: `step` and the metrics logged there |
    | `checkpoints/` | see `hypnet_core.runs.checkpoint` |
    | `log.txt` | what happened when |
    | `summary.json` | the results; exists if and only if the run has finished |
    | `.lock` | locked by the process that executes the run |

    Use `Run.create` or `Run.resume`, not the constructor.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.experiment: str = header["experiment"]
        self.config: dict[str, Any] = header["config"]
        self.recipe: str | None = header.get("recipe")
        """The recipe that the configuration comes from."""
        self.plugins: dict[str, str] = header.get("plugins", {})
        # Set by `resume` alone.
        self.allow_changes = False
        """Whether a checkpoint of another configuration may be restored."""
        self.started_in: str | None = header.get("started_in")
        """The working directory of the start, whose modules may be components."""
        found = header.get("from_checkpoint")
        self.from_checkpoint = None if found is None else Path(found)
        """The checkpoint of another run that this one starts from."""
        self.restored = False
        """Whether the experiment has asked for its checkpoint."""
        self._checkpoints: Checkpoints | None = None
        self.logger = file_logger(path / "log.txt")

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        experiment: str,
        config: BaseModel,
        plugins: Mapping[str, str] | None = None,
        from_checkpoint: Path | None = None,
        recipe: str | None = None,
    ) -> Self:
        """Start a run in a new or empty directory.

        Args:
            path: The directory; created if necessary.
            experiment: Name of the experiment.
            config: Its resolved configuration.
            plugins: Versions of the plugins that took part, by name.
            from_checkpoint: A checkpoint of another run to start from.
            recipe: The recipe that the configuration comes from.

        Raises:
            RunError: The directory is not empty, or cannot be written.
            ConfigError: A number of the configuration is NaN or infinite.
        """
        directory = Path(path)
        check_finite(config)
        make_directory(directory)
        header = {
            "experiment": experiment,
            "config": config.model_dump(mode="json"),
            "plugins": dict(plugins or {}),
            "versions": _versions(),
            "started_in": _working_directory(),
        }
        if recipe is not None:
            header["recipe"] = recipe
        if from_checkpoint is not None:
            header["from_checkpoint"] = str(from_checkpoint.absolute())
        check_new(directory)
        try:
            write_json(directory / "config.json", header, new=True)
        except FileExistsError:  # another process was faster
            raise RunError(_occupied(directory)) from None
        return cls(directory, header)

    @classmethod
    def resume(cls, path: Path | str, *, config: BaseModel | None = None) -> Self:
        """Open the directory of an existing run.

        Args:
            path: The directory.
            config: A configuration that deliberately replaces the one of the start; it
                is written to `config.json`.

        Raises:
            RunError: It does not hold a run, its `config.json` is damaged, or the run
                has finished and `config` was given.
        """
        directory = Path(path)
        if not (directory / "config.json").exists():
            raise RunError(f"{directory} holds no run: there is no config.json")
        header = read_json(directory / "config.json")
        _check_header(directory / "config.json", header)
        run = cls(directory, header)
        if config is not None:
            if run.finished:
                raise RunError(
                    f"{directory} holds a finished run: its results belong to the configuration"
                    " that they were made with; start a new run"
                )
            run.config = config.model_dump(mode="json")
            run.allow_changes = True
            # A running process must not have its configuration replaced.
            with run.locked():
                header |= {"config": run.config, "versions": _versions()}
                write_json(directory / "config.json", header)
        return run

    @property
    def finished(self) -> bool:
        """Whether the run has finished."""
        return (self.path / "summary.json").exists()

    def summary(self) -> dict[str, Any]:
        """The results of a finished run.

        Raises:
            RunError: It has not finished, or the file is damaged.
        """
        found: dict[str, Any] = read_json(self.path / "summary.json")
        return found

    def log(self, step: int, **metrics: float) -> None:
        """Add metrics of one step to `metrics.jsonl`.

        Raises:
            RunError: The file cannot be written.
        """
        append_line(self.path / "metrics.jsonl", json.dumps({"step": step, **metrics}))

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The metrics logged so far; a last line truncated by a crash is left out.

        Raises:
            RunError: A line is damaged.
        """
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                # A crash may cut the last line short; complete lines end with a
                # newline.
                if not line.endswith(b"\n"):
                    return
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise RunError(f"{path}:{number} is damaged: {error}") from error

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the results, which marks the run as finished.

        Raises:
            RunError: The file cannot be written, or a result cannot be written as JSON.
        """
        write_json(self.path / "summary.json", dict(summary))

    @property
    def checkpoints(self) -> Checkpoints:
        """The folder `checkpoints/`."""
        if self._checkpoints is None:
            self.configure_checkpoints(None)
        return cast("Checkpoints", self._checkpoints)

    def configure_checkpoints(
        self, options: CheckpointOptions | None, *, higher_is_better: bool = True
    ) -> None:
        """Say which checkpoints are kept: the last one alone by default.

        Args:
            options: What to keep, and how often to save.
            higher_is_better: Whether a larger score is better.
        """
        from hypnet_core.runs.checkpoints import Checkpoints

        self._checkpoints = Checkpoints(
            self.path / "checkpoints", options, higher_is_better=higher_is_better
        )

    def save(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        state: Mapping[str, Any],
        *,
        score: float | None = None,
    ) -> None:
        """Write a checkpoint.

        Metrics that are logged later are dropped if the run resumes from it.

        Args:
            step: Training steps so far.
            tensors: What to save, by name.
            state: Anything that can be written as JSON.
            score: How good the run is at this point.

        Raises:
            RunError: The file cannot be written.
        """
        metrics = self.path / "metrics.jsonl"
        # The place to cut back to, if the run resumes from here.
        size = metrics.stat().st_size if metrics.exists() else 0
        origin = {"experiment": self.experiment, "config": self.config, "versions": _versions()}
        saved = {**state, "metrics_bytes": size, "run": origin}
        self.checkpoints.save_tensors(step, tensors, saved, score=score)

    def restore(self, *, device: str = "cpu") -> Checkpoint | None:
        """Load the latest checkpoint and truncate `metrics.jsonl` to that point.

        Before its own first checkpoint, a run loads the one that it starts from.

        Returns:
            The checkpoint; `None` if there is none yet.

        Raises:
            CheckpointError: It is damaged, or belongs to another configuration.
            RunError: `metrics.jsonl` cannot be cut back.
        """
        from hypnet_core.runs.checkpoint import load_checkpoint

        self.restored = True
        latest = self.checkpoints.latest()
        if latest is None:
            self._cut_metrics(0)
            if self.from_checkpoint is None:
                return None
            self.logger.info("starting from %s", self.from_checkpoint)
            return load_checkpoint(self.from_checkpoint, device=device)
        checkpoint = load_checkpoint(latest.path, device=device)
        size = checkpoint.state.get("metrics_bytes")
        if not isinstance(size, int):
            raise CheckpointError(f"the checkpoint {latest.path} was not written by a run")
        # Before the metrics are cut: a refusal must change nothing.
        self._check_origin(checkpoint.state.get("run", {}))
        self._cut_metrics(size)
        return checkpoint

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the directory for the duration of a block.

        The operating system releases the lock of a process that is killed.

        Raises:
            RunError: Another process holds the lock, or it cannot be written.
        """
        lock = FileLock(self.path / ".lock", timeout=0)  # no waiting: fail at once
        try:
            lock.acquire()
        except Timeout:
            raise RunError(
                f"{self.path} is in use: another process is executing this run"
            ) from None
        except OSError as error:
            raise RunError(f"cannot write {self.path / '.lock'}: {error.strerror}") from error
        try:
            yield
        finally:
            lock.release()

    def _check_origin(self, origin: Mapping[str, Any]) -> None:
        """Compare configuration and versions with those that wrote a checkpoint."""
        changed = difference(origin.get("config", self.config), self.config)
        if changed and not self.allow_changes:
            raise CheckpointError(
                f"{self.path / 'config.json'} was changed after the checkpoint was written:"
                f" {changed}; resume with --allow-changes if that is intended"
            )
        if changed:
            self.logger.warning("resuming with another configuration: %s", changed)
        versions = difference(origin.get("versions", _versions()), _versions())
        if versions:
            self.logger.warning("resuming with other versions: %s", versions)

    def _cut_metrics(self, size: int) -> None:
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        if path.stat().st_size < size:
            raise CheckpointError(f"{path} is shorter than it was when the checkpoint was written")
        try:
            os.truncate(path, size)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}") from error


def _occupied(directory: Path) -> str:
    return f"{directory} holds another run: choose a new directory, or resume it with --resume"


def check_new(directory: Path) -> None:
    """Refuse a directory that holds a run or foreign files.

    Raises:
        RunError: It does.
    """
    # Ours are a lock, and the unfinished configuration of a competitor or of a process
    # that was killed. Foreign files could be overwritten.
    ours = (".lock", ".config.json.")
    foreign = any(not path.name.startswith(ours) for path in directory.iterdir())
    if (directory / "config.json").exists():
        raise RunError(_occupied(directory))
    if foreign:
        raise RunError(f"{directory} is not empty and holds no run: choose a new directory")


def _check_header(path: Path, header: Any) -> None:
    if not isinstance(header, dict) or not isinstance(header.get("experiment"), str):
        raise RunError(f"{path} is damaged: it names no experiment")
    if not isinstance(header.get("config"), dict):
        raise RunError(f"{path} is damaged: its `config` is not a mapping of options")
    for name in ("started_in", "from_checkpoint", "recipe"):
        if not isinstance(header.get(name), (str, type(None))):
            raise RunError(f"{path} is damaged: its `{name}` is not text")


def _working_directory() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # it was deleted
        return None


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("hypnet-core", "torch"):
        try:
            found[name] = version(name)
        # A source tree that is not installed has no version.
        except PackageNotFoundError:
            continue
    return found
