"""Plugins that misbehave: everything else works, and their fault is one line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from hypnet_core.plugins.discovery import Status, discover

Install: TypeAlias = Callable[..., Path]
Command: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

GOOD = """
    from hypnet_core import Component, hookimpl

    @hookimpl
    def hypnet_components():
        return [Component.mainnet("goodnet", "stranger_good:build", "A network.")]

    def build(in_shape, out_features, *, width: int = 3):
        '''A network.

        Args:
            in_shape: Input.
            out_features: Output.
            width: Its width.
        '''
        return (in_shape, out_features, width)
"""

HOOK = """
from hypnet_core import Component, hookimpl

@hookimpl
def hypnet_components():
    {body}
"""

BROKEN = {
    "raises on import": ("raise RuntimeError('no luck\\ntoday')", "RuntimeError: no luck today"),
    "leaves on import": ("import sys; sys.exit('bye')", "SystemExit: bye"),
    "has a syntax error": ("def f(:\n", "SyntaxError"),
    "lacks a dependency": (
        "import no_such_package_anywhere",
        "No module named 'no_such_package_anywhere'",
    ),
    "returns a number": (
        HOOK.format(body="return 7"),
        "returned 7 (int), expected a list of Component",
    ),
    "returns a text": (
        HOOK.format(body="return 'net'"),
        "returned 'net' (str), expected a list of Component",
    ),
    "never ends": (
        HOOK.format(body="return (Component.mainnet(str(i), 'a:b', 'x') for i in range(10**9))"),
        "returned more than 10,000 components",
    ),
    "raises an error without a message": (
        "class Evil(Exception):\n    def __str__(self):\n        raise RuntimeError\nraise Evil",
        "Evil: (its message cannot be read)",
    ),
    "returns what cannot be shown": (
        "class Evil:\n    def __repr__(self):\n        raise RuntimeError\n"
        + HOOK.format(body="return [Evil()]"),
        "returned a value that cannot be shown (Evil) in its list",
    ),
    "returns nothing": (HOOK.format(body="pass"), "returned None, expected a list of Component"),
    "returns other things": (
        HOOK.format(body="return ['net']"),
        "returned 'net' (str) in its list, expected a Component",
    ),
    "is a generator that raises": (
        HOOK.format(body="yield Component.mainnet('a', 'b:c', 'd'); raise KeyError('x')"),
        "KeyError: 'x'",
    ),
    "leaves in its hook": (HOOK.format(body="raise SystemExit"), "SystemExit"),
    "gives a bad name": (
        HOOK.format(body="return [Component.mainnet('Bad Name', 'b:c', 'd')]"),
        "Component name",
    ),
    "gives a name twice": (
        HOOK.format(body="return 2 * [Component.mainnet('net', 'b:c', 'd')]"),
        "mainnet 'net' more than once",
    ),
    "takes other arguments": (
        (
            "from hypnet_core import hookimpl\n@hookimpl\ndef hypnet_components(nonsense):\n   "
            " return []\n"
        ),
        "nonsense",
    ),
}


def loaded(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The plugins of `hypnet plugins --json` that the test installed."""
    return [
        plugin for plugin in json.loads(done.stdout)["plugins"] if plugin["status"] != "skipped"
    ]


@pytest.mark.parametrize(("code", "error"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_skipped_with_one_line_and_all_others_work(
    install: Install, hypnet: Command, code: str, error: str
) -> None:
    install("good", GOOD)
    install("bad", code)
    done = hypnet("list", "mainnets")
    assert (done.returncode, done.stdout) == (0, "goodnet\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith("hypnet: plugin 'bad' (dist-bad 1.0) is skipped: ")
    assert error in line


@pytest.mark.parametrize(("code", "error"), BROKEN.values(), ids=BROKEN)
def test_the_whole_story_of_a_broken_plugin_is_told_by_hypnet_plugins(
    install: Install, hypnet: Command, code: str, error: str
) -> None:
    install("good", GOOD)
    install("bad", code)
    bad, good = loaded(hypnet("plugins", "--json"))
    assert (bad["name"], bad["status"], bad["distribution"], bad["version"]) == (
        "bad",
        "broken",
        "dist-bad",
        "1.0",
    )
    assert (bad["module"], bad["components"]) == ("stranger_bad", [])
    assert error in bad["error"]
    assert (good["status"], good["components"], good["error"], good["traceback"]) == (
        "ok",
        ["mainnet good:goodnet"],
        "",
        "",
    )
    story = hypnet("plugins", "-v").stdout
    assert error in story
    ours = ("more than", "expected a", "nonsense", "cannot be shown")  # raised by no plugin
    if not any(words in error for words in ours):
        assert "Traceback (most recent call last)" in bad["traceback"]
        assert "stranger_bad" in story


def test_whoever_asks_for_what_a_broken_plugin_might_have_had_is_told(
    install: Install, hypnet: Command
) -> None:
    install("good", GOOD)
    install("bad", "raise RuntimeError")
    done = hypnet("show", "fancynet", "-q")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("hypnet: there is no component 'fancynet'")
    assert "goodnet" in line
    assert "might come from a plugin that is broken: bad" in line


def test_an_unknown_command_names_the_broken_plugins(install: Install, hypnet: Command) -> None:
    install("bad", "raise RuntimeError")
    done = hypnet("shearch", "-q")
    assert done.returncode == 2
    assert "might come from a broken plugin: bad" in done.stderr


def test_a_taken_name_is_ambiguous_and_both_stay_listed(install: Install, hypnet: Command) -> None:
    install("good", GOOD)
    install("rival", GOOD, module="stranger_rival")
    done = hypnet("list", "mainnets")
    assert done.stdout == "good:goodnet\nrival:goodnet\n"
    (line,) = done.stderr.splitlines()
    assert "'good', 'rival'" in line
    assert "good:goodnet or rival:goodnet" in line
    bare = hypnet("show", "goodnet", "-q")
    assert bare.returncode == 2
    assert bare.stderr == "hypnet: 'goodnet' is ambiguous: write good:goodnet or rival:goodnet\n"
    assert hypnet("show", "rival:goodnet").returncode == 0


def test_a_slow_plugin_works_and_is_told_how_slow_it_is(install: Install, hypnet: Command) -> None:
    install("good", GOOD)
    busy = "import time\nwhile time.process_time() - start < 0.6: pass\n"
    code = busy.replace("while", "start = time.process_time()\nwhile")
    install("slow", f"{code}{HOOK.format(body='return []')}")
    done = hypnet("list", "mainnets")
    assert done.stdout == "goodnet\n"
    (line,) = done.stderr.splitlines()
    assert "plugin 'slow' (dist-slow 1.0): it took 0.6 s to import" in line
    slow = loaded(hypnet("plugins", "--json"))[1]
    assert slow["status"] == "ok"
    assert slow["seconds"] >= 0.6


def test_a_plugin_that_had_to_wait_is_not_called_slow(install: Install, hypnet: Command) -> None:
    """On a busy machine time passes while others compute."""
    install("waiting", f"import time\ntime.sleep(0.6)\n{HOOK.format(body='return []')}")
    assert hypnet("list", "mainnets").stderr == ""


@pytest.mark.parametrize(
    ("code", "note"),
    [
        (
            "from hypnet_core import hookimpl\n@hookimpl\ndef hypnet_component():\n    return []\n",
            "there is no hook 'hypnet_component'; did you mean 'hypnet_components'?",
        ),
        (
            "def hypnet_components():\n    return []\n",
            "hypnet_components is not marked with @hookimpl and is ignored",
        ),
        ("x = 1\n", "it implements no hook; hooks are: hypnet_components, hypnet_commands"),
    ],
    ids=["misspelt", "unmarked", "none"],
)
def test_a_hook_that_nobody_would_call_is_reported(
    install: Install, hypnet: Command, code: str, note: str
) -> None:
    install("good", GOOD)
    install("odd", code)
    done = hypnet("list", "mainnets")
    assert done.stdout == "goodnet\n"
    assert done.stderr == f"hypnet: plugin 'odd' (dist-odd 1.0): {note}\n"


def test_what_a_plugin_prints_on_import_does_not_reach_stdout(
    install: Install, hypnet: Command
) -> None:
    install("good", "print('hello')\n" + GOOD.replace("\n    ", "\n"))
    done = hypnet("list", "--json")
    assert json.loads(done.stdout)["components"][0]["name"] == "goodnet"
    assert "hello" in done.stderr


def test_what_a_plugin_writes_to_the_file_descriptor_does_not_reach_stdout(
    install: Install, hypnet_process: Command
) -> None:
    install("good", GOOD)
    install("loud", f"import os\nos.write(1, b'loud')\n{HOOK.format(body='return []')}")
    done = hypnet_process("list", "--json")
    assert [found["name"] for found in json.loads(done.stdout)["components"]] == ["goodnet"]
    assert "loud" in done.stderr


LEAVING = """
    import os, sys
    from hypnet_core import Component, hookimpl

    @hookimpl
    def hypnet_components():
        return [
            Component.mainnet("module", "stranger_leaving_module:x", "Leaves on import."),
            Component.mainnet("leaver", "stranger_leaving:leaver", "Leaves when it is built."),
        ]

    def leaver(in_shape, out_features):
        sys.exit(0)
"""


EVIL = """
    import os
    from pydantic import BaseModel
    from hypnet_core import Component, hookimpl

    class Evil:
        def __repr__(self):
            raise RuntimeError
        __str__ = __repr__
        def __eq__(self, other):
            raise RuntimeError
        __hash__ = None

    class EvilError(Exception):
        def __str__(self):
            raise RuntimeError

    def default(in_shape, out_features, *, x: object = Evil()):
        pass

    def annotation(in_shape, out_features, *, x: "Evil()" = 1):
        pass

    def docstring(in_shape, out_features, *, x: int = 1):
        pass

    docstring.__doc__ = 5

    def base_exception(in_shape, out_features):
        raise BaseException(Evil())

    class Printing:
        class Config(BaseModel):
            fail: bool = False

        def run(self, config, run):
            os.write(1, b"by descriptor")
            print("by print")
            if config.fail:
                raise EvilError
            return {"x": 1}

    @hookimpl
    def hypnet_components():
        names = ("default", "annotation", "docstring", "base_exception")
        nets = [Component.mainnet(name, f"stranger_evil:{name}", "Evil.") for name in names]
        return [*nets, Component.experiment("printing", "stranger_evil:Printing", "Prints.")]
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "annotation"], "mainnet 'evil:annotation': its options cannot be read: "),
        (["show", "docstring"], "mainnet 'evil:docstring': its options cannot be read: "),
        (
            ["inspect", "--mainnet", "base_exception", "--hypernet", "base_exception"],
            "there is no hypernet",
        ),
        (["run", "printing", "fail=true", "--out", "x"], "EvilError: (its message cannot be read)"),
    ],
)
def test_evil_objects_are_contained_in_one_line(
    install: Install, hypnet: Command, arguments: list[str], message: str
) -> None:
    install("evil", EVIL)
    done = hypnet(*arguments)
    assert done.returncode in {1, 2}
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("hypnet: ")]
    assert message in line
    assert "Traceback" not in done.stderr


def test_an_evil_default_is_shown_without_its_words(install: Install, hypnet: Command) -> None:
    install("evil", EVIL)
    document = json.loads(hypnet("show", "default", "--json").stdout)
    assert document["options"][0]["default"] == "a value that cannot be shown"
    assert document["json_schema"]["properties"]["x"]["default"] == "a value that cannot be shown"


def test_a_check_goes_on_after_any_exception(install: Install, hypnet: Command) -> None:
    install("evil", EVIL)
    done = hypnet("check", "base_exception")
    assert done.returncode == 1
    assert "BaseException: (its message cannot be read)" in done.stdout


def test_output_of_an_experiment_does_not_break_json(
    install: Install, hypnet_process: Command
) -> None:
    install("evil", EVIL)
    done = hypnet_process("run", "printing", "--json", "--out", "x")
    assert json.loads(done.stdout)["summary"] == {"x": 1}
    assert "by descriptor" in done.stderr
    assert "by print" in done.stderr


def test_a_component_that_leaves_the_program_is_one_line(
    install: Install, site: Path, hypnet: Command
) -> None:
    install("leaving", LEAVING)
    install("good", GOOD)
    (site / "stranger_leaving_module.py").write_text("import sys\nprint('x')\nsys.exit(0)\n")
    done = hypnet("show", "module", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot import stranger_leaving_module: SystemExit: 0" in done.stderr
    pair = ("inspect", "--mainnet", "leaver", "--hypernet", "x", "--in-shape", "3", "--out", "2")
    assert hypnet(*pair).returncode != 0
    done = hypnet("check", "leaver")
    assert done.returncode == 1
    assert "SystemExit: 0" in done.stdout


def test_a_plugin_that_ends_the_process_is_named_by_the_next_start(
    install: Install, site: Path, hypnet_process: Command, tmp_path: Path
) -> None:
    install("good", GOOD)
    install("fatal", "import os\nos._exit(3)\n")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert hypnet_process("list", **cache).returncode == 3
    again = hypnet_process("list", **cache)
    assert again.returncode == 3
    assert "plugin 'fatal': an earlier start ended while it was being loaded" in again.stderr
    assert again.stderr.rstrip().endswith("leave the plugin out: HYPNET_PLUGINS=-fatal")
    # What the line says is what helps.
    done = hypnet_process("list", "mainnet", "good*", plugins="-fatal", **cache)
    assert (done.returncode, done.stdout) == (0, "goodnet\n")
    quiet = hypnet_process("list", "mainnets", plugins="good", **cache)
    assert quiet.stderr == ""
    assert list((tmp_path / "cache" / "hypnet").iterdir()) == []


def test_a_component_that_ends_the_process_is_named_by_the_next_start(
    install: Install, site: Path, hypnet_process: Command, tmp_path: Path
) -> None:
    install("leaving", LEAVING)
    (site / "stranger_leaving_module.py").write_text("import os\nos._exit(4)\n")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert hypnet_process("show", "module", **cache).returncode == 4
    done = hypnet_process("list", "mainnet", **cache)
    assert done.returncode == 0
    assert "plugin 'leaving': an earlier start ended while mainnet 'leaving:module'" in done.stderr


def test_a_home_that_cannot_be_written_stops_nobody(
    install: Install, hypnet: Command, tmp_path: Path
) -> None:
    install("good", GOOD)
    (tmp_path / "file").touch()
    done = hypnet("list", "mainnets", XDG_CACHE_HOME=str(tmp_path / "file"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "goodnet\n", "")


def test_quiet_silences_the_faults_of_plugins(install: Install, hypnet: Command) -> None:
    install("bad", "raise RuntimeError")
    for arguments in (("-q", "list"), ("list", "-q"), ("list", "--quiet")):
        assert hypnet(*arguments).stderr == ""


def test_the_library_says_nothing_about_plugins(install: Install, site: Path) -> None:
    import os
    import sys

    install("bad", "raise RuntimeError")
    code = (
        "import hypnet_core; from hypnet_core.plugins.registry import registry;"
        " registry().entries()"
    )
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_two_distributions_may_use_one_name_for_their_entry_points(
    install: Install, hypnet: Command
) -> None:
    install("lab", GOOD, distribution="first-lab", module="stranger_good")
    install(
        "lab",
        GOOD.replace("goodnet", "othernet"),
        distribution="second-lab",
        module="stranger_other",
    )
    assert hypnet("list", "mainnets").stdout == "goodnet\nothernet\n"
    assert [plugin["name"] for plugin in loaded(hypnet("plugins", "--json"))] == [
        "lab@first-lab",
        "lab@second-lab",
    ]
    assert hypnet("show", "lab@second-lab:othernet").returncode == 0
    assert hypnet("list", "mainnets", plugins="second-lab").stdout == "othernet\n"


def test_the_variable_limits_what_is_loaded(install: Install, hypnet: Command) -> None:
    install("good", GOOD)
    install("bad", "raise RuntimeError")
    done = hypnet("list", "mainnets", plugins="good")
    assert (done.stdout, done.stderr) == ("goodnet\n", "")
    assert [plugin["name"] for plugin in loaded(hypnet("plugins", "--json", plugins="good"))] == [
        "good"
    ]
    assert "bad" in hypnet("plugins", plugins="good").stdout.splitlines()


@pytest.mark.parametrize(
    ("variable", "names"),
    [("-bad", ["good", "other"]), ("-bad,-other", ["good"]), ("good,bad,-bad", ["good"])],
)
def test_a_minus_leaves_a_plugin_out(
    install: Install, hypnet: Command, variable: str, names: list[str]
) -> None:
    for name in ("good", "other"):
        install(name, HOOK.format(body="return []"))
    install("bad", "raise RuntimeError")
    done = hypnet("plugins", "--json", plugins=variable)
    found = {plugin["name"] for plugin in loaded(done)} & {"good", "other", "bad"}
    assert found == set(names)
    assert done.stderr == ""


def test_an_unknown_name_in_the_variable_is_one_line(install: Install, hypnet: Command) -> None:
    install("good", GOOD)
    done = hypnet("list", "mainnets", plugins="good, goood")
    assert (done.returncode, done.stdout) == (0, "goodnet\n")
    (line,) = done.stderr.splitlines()
    assert "HYPNET_PLUGINS names 'goood', which is not installed; did you mean 'good'" in line


def test_a_component_of_a_plugin_that_is_left_out_is_explained(
    install: Install, hypnet: Command
) -> None:
    install("good", GOOD)
    done = hypnet("show", "goodnet", plugins="other", HYPNET_X="")
    assert done.returncode == 2
    assert "not named in HYPNET_PLUGINS" in done.stderr


def test_damaged_metadata_of_a_stranger_takes_nothing_down(
    install: Install, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("sound", GOOD, module="stranger_sound")
    install("worse", "x = 1", entry_points="[hypnet]\nthis line has no sign\n")
    (install("nameless", "x = 1") / "METADATA").write_bytes(b"\xff\xfe\x00nonsense")
    (install("binary", "x = 1") / "entry_points.txt").write_bytes(b"[hypnet]\n\xff\xfe = \x00")
    monkeypatch.syspath_prepend(str(site))
    names = {
        plugin.name
        for plugin in discover({"HYPNET_PLUGINS": "sound"}).plugins
        if plugin.status is Status.OK
    }
    assert names == {"sound"}


def test_an_entry_point_that_leads_nowhere_is_broken(install: Install, hypnet: Command) -> None:
    install("good", GOOD)
    install("lost", "x = 1", entry_points="[hypnet]\nlost = stranger_lost:no_such_thing\n")
    done = hypnet("list", "mainnets")
    assert done.stdout == "goodnet\n"
    assert "no_such_thing" in done.stderr


def test_plugins_are_records_in_the_library(
    install: Install, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("inproc", GOOD, module="stranger_inproc")
    monkeypatch.syspath_prepend(str(site))
    found = discover({"HYPNET_PLUGINS": "inproc"})
    (plugin,) = [plugin for plugin in found.plugins if plugin.name == "inproc"]
    assert plugin.status is Status.OK
    assert [component.name for component in plugin.components] == ["goodnet"]
    assert all(other.status is Status.SKIPPED for other in found.plugins if other is not plugin)


def test_an_empty_variable_loads_nothing(
    install: Install, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("unloaded", "raise RuntimeError", module="stranger_unloaded")
    monkeypatch.syspath_prepend(str(site))
    assert all(
        plugin.status is Status.SKIPPED for plugin in discover({"HYPNET_PLUGINS": ""}).plugins
    )


COMMANDS = """
    from hypnet_core import hookimpl

    @hookimpl
    def hypnet_commands(app):
        @app.command()
        def greet(name: str):
            '''Greet somebody.'''
            print("hello", name)
            return 5  # no exit code

        @app.command()
        def leave(code: int):
            raise SystemExit(code)

        {more}
"""


def test_a_plugin_adds_a_command(install: Install, hypnet: Command) -> None:
    install("polite", COMMANDS.format(more=""))
    assert "Greet somebody." in hypnet("--help").stdout
    done = hypnet("greet", "Ada")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello Ada\n", "")
    assert hypnet("greet", "--quiet", "Ada").stdout == "hello Ada\n"
    assert hypnet("leave", "7").returncode == 7


@pytest.mark.parametrize(
    ("more", "error"),
    [("raise ValueError('late')", "ValueError: late"), ("raise SystemExit(4)", "SystemExit: 4")],
)
def test_a_plugin_that_raises_while_adding_commands_adds_none(
    install: Install, hypnet: Command, more: str, error: str
) -> None:
    install("good", GOOD)
    install("rude", COMMANDS.format(more=more))
    done = hypnet("list", "mainnets")
    assert done.stdout == "goodnet\n"
    assert (
        done.stderr
        == f"hypnet: plugin 'rude' (dist-rude 1.0): its commands are left out: {error}\n"
    )
    assert hypnet("greet", "Ada").returncode == 2


def test_a_command_that_cannot_be_built_is_left_out(install: Install, hypnet: Command) -> None:
    more = "\n        @app.command()\n        def odd(x: 'int | str'):\n            pass\n"
    install("odd", COMMANDS.format(more=more))
    done = hypnet("list", "mainnets")
    assert done.returncode == 0
    assert "its commands are left out" in done.stderr


def test_a_plugin_cannot_replace_a_command(install: Install, hypnet: Command) -> None:
    install("good", GOOD)
    install("greedy", COMMANDS.format(more="").replace("def greet", "def show"))
    done = hypnet("show", "goodnet")
    assert "mainnet goodnet" in done.stdout
    assert "its command 'show' is left out: there is one of that name" in done.stderr
