"""Execution of experiments in runs."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import BaseModel

from hypnet_core.errors import error_line
from hypnet_core.protocols import Experiment
from hypnet_core.runs.run import Run


def execute(experiment: Experiment, config: BaseModel, run: Run) -> dict[str, Any]:
    """Execute an experiment in a run and write `summary.json`.

    If it ends early, the reason is written to `log.txt`.

    Returns:
        The summary; of a run that has finished before, the one on disk.
    """
    # A finished run is not repeated, so that resuming it is harmless.
    if run.finished:
        return run.summary()
    try:
        # Locked for the whole run: two processes would mix their metrics.
        with run.locked():
            summary = dict(experiment.run(config, run))
            if run.from_checkpoint is not None and not run.restored:
                run.logger.warning("the experiment did not load %s", run.from_checkpoint)
            run.finish(summary)
    except BaseException as error:
        # The caller shows the traceback. `reported` keeps the line out of stderr, where
        # the command reports the error itself.
        reported = {"reported": True}
        run.logger.log(logging.ERROR, "stopped: %s", error_line(error), extra=reported)
        raise
    run.logger.info("finished")
    return summary
