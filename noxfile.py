"""The sessions: `nox -l` lists them, `nox` runs those that a change must pass."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
# uv links packages from its cache, so that an environment with torch takes seconds.
nox.options.default_venv_backend = "uv"
nox.options.reuse_existing_virtualenvs = True
# Trust the system's certificates, as pip does: some networks have their own authority.
for variable in ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS"):
    os.environ.setdefault(variable, "1")
nox.options.sessions = [
    "lint",
    "types",
    "tests",
    "ray",
    "peft",
    "arviz",
    "loggers",
    "third_party",
    "alone",
]

DISTRIBUTIONS = ["hypnet-core", "hypnet-data", "hypnet-zoo", "hypnet-hpsearch"]
EDITABLE = [argument for name in DISTRIBUTIONS for argument in ("-e", f"packages/{name}")]
TEST_TOOLS = [
    "cmaes>=0.12",
    "hypothesis>=6.100",
    "matplotlib>=3.9",
    "mlxtend>=0.23",
    "optuna>=5",
    "psutil>=6",
    "pytest>=8.3",
    "pytest-cov>=6",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
]
TYPE_STUBS = ["types-PyYAML", "types-psutil"]
PYTHON_CODE = ["packages", "tests", "benchmarks", "noxfile.py"]


def _works(*command: str) -> bool:
    """Whether a command is there and succeeds."""
    found = shutil.which(command[0])
    return (
        found is not None
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )  # our words


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, and who may import whom."""
    session.install("ruff>=0.17,<0.18", "import-linter>=2.1")
    session.install("--no-deps", *EDITABLE)
    session.run("ruff", "check", *PYTHON_CODE)
    session.run("ruff", "format", "--check", *PYTHON_CODE)
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, over packages, tests, benchmarks and this file."""
    session.install("mypy>=1.15", "nox", *TYPE_STUBS, *TEST_TOOLS, *EDITABLE)
    session.run("mypy", *PYTHON_CODE)


# One worker per core, so one thread per worker: more would wait for each other.
PARALLEL = ["-n", "auto", "--dist", "worksteal"]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
# What no other session is for.
DEFAULT = "not slow and not packaging and not foreign"


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite; arguments go to pytest (`nox -s tests -- tests/zoo -x`)."""
    session.install(*TEST_TOOLS, *EDITABLE)
    session.run(
        "pytest",
        "-m",
        DEFAULT,
        *(session.posargs or [*PARALLEL, "--durations=10"]),
        env=ONE_THREAD,
    )


@nox.session
def coverage(session: nox.Session) -> None:
    """The test suite again, with the lines and branches that it does not reach."""
    session.install(*TEST_TOOLS, *EDITABLE)
    arguments = [*PARALLEL, "--cov", "--cov-report=term:skip-covered", *session.posargs]
    session.run("pytest", "-m", DEFAULT, *arguments, env=ONE_THREAD)


@nox.session
def slow(session: nox.Session) -> None:
    """Tests that take minutes."""
    session.install(*TEST_TOOLS, *EDITABLE)
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session
def ray(session: nox.Session) -> None:
    """The scheduler `ray`, in a network namespace: Ray listens on all addresses."""
    loopback = ["ip", "link", "set", "lo", "up"]
    namespace = next(
        (words for words in (["unshare", "-n"], ["unshare", "-Urn"]) if _works(*words, *loopback)),
        None,
    )
    if namespace is None:
        session.skip(
            "no network namespace can be made here: unshare or ip is missing, or forbidden"
        )
    session.install(*TEST_TOOLS, *EDITABLE, "-e", "packages/hypnet-hpsearch[ray]")
    inside = ["sh", "-c", f'{" ".join(loopback)} && exec "$@"', "sh"]
    command = ["python", "-m", "pytest", "tests/hpsearch/schedulers/test_ray.py", *session.posargs]
    session.run(*namespace, *inside, *command, external=True)


@nox.session
def third_party(session: nox.Session) -> None:
    """A stranger's plugin, built to a wheel and installed beside hypnet-core alone."""
    session.install("uv", "build", "hatchling", *TEST_TOOLS, *EDITABLE)
    session.run(
        "pytest", "-m", "packaging", "tests/integration/test_third_party.py", *session.posargs
    )


@nox.session
@nox.parametrize("distribution", DISTRIBUTIONS)
def alone(session: nox.Session, distribution: str) -> None:
    """One distribution's wheel in an empty environment, beside hypnet-core's alone."""
    wheels = Path(session.create_tmp()) / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    session.install("build", "hatchling")
    for name in {"hypnet-core", distribution}:
        session.run(
            "python",
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(wheels),
            f"packages/{name}",
            silent=True,
        )
    session.run("uv", "pip", "uninstall", "--quiet", "build", "hatchling", external=True)
    session.install("hypothesis>=6.100", "pytest>=8.3", *map(str, sorted(wheels.glob("*.whl"))))
    session.run("pytest", "tests/alone", env={"HYPNET_ALONE": distribution})


@nox.session
def peft(session: nox.Session) -> None:
    """Adapters exported for PEFT, loaded with PEFT."""
    session.install("peft>=0.15", *TEST_TOOLS, *EDITABLE)
    session.run("pytest", "tests/zoo/adapters", *session.posargs)


@nox.session
def arviz(session: nox.Session) -> None:
    """Draws of samplers given to ArviZ, and its measures beside ours."""
    session.install(*TEST_TOOLS, *EDITABLE, "-e", "packages/hypnet-zoo[arviz]")
    session.run("pytest", "tests/zoo/bayes", "-k", "arviz", *session.posargs)


@nox.session
def foreign(session: nox.Session) -> None:
    """Main networks that nobody here wrote: timm, transformers, torchvision, graphs."""
    libraries = ["timm>=1.0.30", "torch-geometric>=2.8", "torchvision", "transformers>=5.20"]
    session.install(*libraries, *TEST_TOOLS, *EDITABLE)
    arguments = [*PARALLEL, *session.posargs]
    session.run("pytest", "-m", "foreign", "tests/foreign", *arguments, env=ONE_THREAD)


@nox.session
def bayes(session: nox.Session) -> None:
    """Bayesian inference, its slow tests and those with ArviZ included."""
    session.install(*TEST_TOOLS, *EDITABLE, "-e", "packages/hypnet-zoo[arviz]")
    session.run("pytest", "tests/zoo/bayes", *PARALLEL, *session.posargs, env=ONE_THREAD)


@nox.session
def loggers(session: nox.Session) -> None:
    """The loggers with MLflow's file store and Weights & Biases offline."""
    session.install(*TEST_TOOLS, *EDITABLE, "-e", "packages/hypnet-core[tensorboard,mlflow,wandb]")
    session.run(
        "pytest",
        "tests/core/loggers",
        "tests/core/test_conformance.py",
        *session.posargs,
        # MLflow keeps its file store for those who ask for it.
        env={"MLFLOW_ALLOW_FILE_STORE": "true", "WANDB_MODE": "offline"},
    )


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks, all or named ones (`nox -s bench -- hypercl_step`)."""
    session.install("matplotlib>=3.9", *EDITABLE)
    session.install("--no-deps", "hypnettorch==0.0.4")
    others = {"measure", "recipes"}
    names = session.posargs or sorted(
        path.stem for path in Path("benchmarks").glob("*.py") if path.stem not in others
    )
    for name in names:
        session.run("python", f"benchmarks/{name}.py")


@nox.session
def recipes(session: nox.Session) -> None:
    """Recipes with their seeds, all or named ones; writes docs/recipes.md."""
    session.install("matplotlib>=3.9", *EDITABLE)
    session.run("python", "benchmarks/recipes.py", *session.posargs)
