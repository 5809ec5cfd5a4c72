"""The command line, used by a person and by a program."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from ml_metadata.proto import metadata_store_pb2 as mlmd
from rich.console import Console

from lineage.command import export, group, pages  # noqa: F401 - they join the group
from lineage.command.questions import cli
from lineage.compare import compare
from metadata.reader import MetadataReader

pytestmark = pytest.mark.unit
REPOSITORY = Path(__file__).parents[2]


def ask(tfx, *arguments, code=0):
    result = CliRunner().invoke(cli, ["--store", str(tfx.path), *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def one_line(result):
    """Returns the error, which must be one line and the only output."""
    lines = result.output.splitlines()
    assert len(lines) == 1, result.output
    return lines[0]


def test_list_shows_one_line_per_run(tfx):
    made = tfx.full_run("first", "1001")
    tfx.execute(
        "second",
        "SparkExampleGen",
        outputs={"examples": made["examples"]},
        state=mlmd.Execution.CACHED,
    )
    tfx.execute("second", "Trainer", state=mlmd.Execution.FAILED)
    heading, second, first = ask(tfx, "list").output.splitlines()
    assert heading.split()[:2] == ["run", "pipeline"]
    assert second.startswith("second")
    assert "1 cached, 1 failed (Trainer)" in second
    assert "7 complete" in first
    assert "474793" in first
    assert "1001" in first
    assert "second" in ask(tfx, "list", "--limit", 1).output
    assert "first" not in ask(tfx, "list", "--limit", 1).output


def test_trace_ends_at_the_files_and_the_rows_add_up(tfx):
    made = tfx.full_run("r", "1001")
    tfx.manifest(made["examples"])
    output = ask(tfx, "trace", "latest").output
    assert "306 read = 193 train + 98 eval + 12 quarantined + 3 dropped" in output
    assert "adds up" in output
    assert "readings/2024-03-01/00/a.json.gz  600 B  crc32c:6f62828f" in output
    assert "code " + "c" * 64 in output


def test_trace_says_how_many_rows_are_unaccounted_for(tfx):
    counts = {"read": 306, "train": 193, "eval": 90, "quarantined": 12, "dropped": 3}
    tfx.push("r", tfx.model("r", tfx.examples("r", counts=counts)), "1001")
    output = ask(tfx, "trace").output
    assert "8 rows unaccounted for" in output
    assert "adds up" not in output
    assert "gone from disk" in output
    assert "files unknown without the manifest" in output


def test_many_files_are_summed_up_unless_all_are_asked_for(tfx):
    made = tfx.full_run("r", "1001")
    files = [{"path": f"readings/{n:02d}.gz", "bytes": 2500, "checksum": "0"} for n in range(24)]
    source = {"name": "readings", "format": "json", "path": "*", "rows_read": 306, "files": files}
    tfx.manifest(made["examples"], sources=[source])
    short = ask(tfx, "trace").output
    assert "24 files, 60.0 kB" in short
    assert "22 more" in short
    assert "readings/00.gz" in short
    assert "readings/01.gz" not in short
    assert "readings/23.gz" in short
    assert all(f["path"] in ask(tfx, "trace", "--files").output for f in files)


def test_impact_shows_pushed_versions_and_runs(tfx):
    made = tfx.full_run("r", "1001")
    output = ask(tfx, "impact", made["examples"]).output
    assert "pushed as version 1001  /serving/1001  in run r" in output
    assert "used by 1 run" in output
    assert output == ask(tfx, "impact", "latest").output


@pytest.mark.parametrize("command", ["list", "trace", "impact", "show latest", "show 1"])
def test_json_parses_and_nothing_else_is_printed(tfx, command):
    made = tfx.full_run("r", "1001")
    tfx.manifest(made["examples"])
    assert json.loads(ask(tfx, *command.split(), "--json").stdout)


def test_json_has_the_fields_of_the_records(tfx):
    tfx.manifest(tfx.full_run("r", "1001")["examples"])
    traced = json.loads(ask(tfx, "trace", "--json").stdout)
    [dataset] = traced["datasets"]
    assert dataset["accounts"] == {
        "read": 306,
        "splits": {"train": 193, "eval": 98},
        "quarantined": 12,
        "dropped": 3,
        "adds_up": True,
        "exact": True,
        "differs": [],
    }
    assert dataset["sources"][0]["files"][0]["checksum"] == "crc32c:6f62828f"
    [run] = json.loads(ask(tfx, "list", "--json").stdout)
    assert (run["run_id"], run["pushed_version"], run["state"]) == ("r", "1001", "complete")
    assert run["started"].endswith("+00:00")
    assert json.loads(ask(tfx, "show", "latest", "--json").stdout)["kind"] == "run"


def test_show_knows_runs_executions_and_artifacts(tfx):
    made = tfx.full_run("r", "1001")
    assert "Trainer" in ask(tfx, "show", "run:r").output
    assert "Trainer" in ask(tfx, "show", "r").output
    model = ask(tfx, "show", f"artifact:{made['model']}").output
    assert "made by  Trainer (execution 5)  complete  in run r" in model
    assert "Pusher" in model
    execution = ask(tfx, "show", "execution:5").output
    assert f"TransformGraph {made['transform_graph']}" in execution


def test_show_of_a_number_is_an_artifact_and_says_when_it_is_an_execution_too(tfx):
    made = tfx.full_run("r", "1001")
    both = ask(tfx, "show", 1)
    assert "artifact 1  Examples" in both.output
    assert "there is an execution 1, too" in both.output
    assert "too:" not in ask(tfx, "show", made["pushed_model"]).output


@pytest.mark.parametrize("name", ["[red]", "[/red]", "<b>", "[link=x]y", "a\x1b[31mb", ":smile:"])
def test_names_are_shown_as_they_are(tfx, name):
    _, made = tfx.execute(name, "Trainer", outputs={"model": ("Model", {"note": name})})
    shown = name.replace("\x1b", "\\x1b")
    assert shown in ask(tfx, "list").output
    assert shown in ask(tfx, "show", "latest").output
    assert f"note  {shown}" in ask(tfx, "show", f"artifact:{made['model']}").output


def test_a_program_gets_uncut_lines(tfx):
    path = "/data/" + "long/" * 100
    tfx.execute("r" * 200, "Trainer", outputs={"model": ("Model", {"uri": path})})
    assert path in ask(tfx, "show", "artifact:1").output
    assert "r" * 200 in ask(tfx, "list").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trace", "nope"], "Error: no pushed model 'nope'"),
        (["impact", "99"], "Error: no artifact 99"),
        (["show", "execution:99"], "Error: no execution 99"),
        (["show", "artifact:x"], "Error: 'x' is not a number"),
        (["show", "run:nope"], "Error: no run 'nope'"),
        (["show", "99"], "Error: no execution 99"),
        (["--mysql", "h:1/d", "list"], "Error: give one of --store, --mysql"),
    ],
)
def test_errors_are_one_line(tfx, arguments, message):
    tfx.full_run("r", "1001")
    assert one_line(ask(tfx, *arguments, code=1)).startswith(message)


def test_a_store_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "text").write_text("no database" * 1000)
    for name, message in {"none": "does not exist", "text": "not a database"}.items():
        result = CliRunner().invoke(cli, ["list", "--store", str(tmp_path / name)])
        assert result.exit_code == 1
        assert message in one_line(result)


def test_an_empty_store_is_one_line(tfx):
    assert "no pipeline run yet" in one_line(ask(tfx, "list", code=1))


def test_the_store_below_runs_is_found(tfx, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nothing = CliRunner().invoke(cli, ["list"])
    assert nothing.exit_code == 1
    assert "no metadata store at runs/*/metadata.sqlite" in one_line(nothing)

    for number, pipeline in enumerate(("older", "newer")):
        folder = tmp_path / "runs" / pipeline
        folder.mkdir(parents=True)
        type(tfx)(folder, pipeline).execute(f"run-of-{pipeline}", "Trainer")
        os.utime(folder / "metadata.sqlite", (1000 + number, 1000 + number))
        result = CliRunner().invoke(cli, ["list"])
        assert result.exit_code == 0
        assert f"run-of-{pipeline}" in result.output
    assert "reading runs/newer/metadata.sqlite, the newest of 2" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mysql", "host", "--user", "u"], "write HOST:PORT/DATABASE"),
        (["--mysql", "127.0.0.1:1/mlmd"], "needs --user"),
        (
            ["--mysql", "127.0.0.1:1/m", "--user", "u", "--password-env", "UNSET"],
            "UNSET is not set",
        ),
        (["--mysql", "127.0.0.1:1/mlmd", "--user", "u"], "cannot reach MySQL at 127.0.0.1:1"),
    ],
)
def test_mysql_mistakes_are_one_line(arguments, message):
    result = CliRunner().invoke(cli, [*arguments, "list"])
    assert result.exit_code == 1
    assert message in one_line(result)


def test_the_module_runs_without_tfx_on_a_screen_without_unicode(tfx):
    tfx.manifest(tfx.full_run("r", "1001")["examples"])
    code = (
        "import sys, runpy; sys.argv = ['lineage', '--store', sys.argv[1], 'trace'];\n"
        "try: runpy.run_module('lineage', run_name='__main__')\n"
        "finally: assert not {'tfx', 'tensorflow', 'pyspark'} & sys.modules.keys()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tfx.path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "306 read = 193 train + 98 eval + 12 quarantined + 3 dropped  adds up" in result.stdout
    assert "?" not in result.stdout


def test_help_teaches_by_example():
    for command in ([], ["list"], ["show"], ["trace"], ["impact"]):
        result = CliRunner().invoke(cli, [*command, "--help"])
        assert result.exit_code == 0
        assert "python -m lineage" in result.output


def test_diff_shows_what_differs_and_what_does_not(tfx):
    tfx.full_run("a", "1001")
    tfx.push("b", tfx.model("b", tfx.examples("b", span=474794)), "1002")
    output = ask(tfx, "diff").output
    assert "run a  run b" in output
    assert "474792-474793" in output and "474793-474794" in output
    assert "unknown: a manifest is gone" in output
    assert json.loads(ask(tfx, "diff", "1001", "1002", "--json").output)["before"]["name"] == "1001"
    assert one_line(ask(tfx, "diff", "c", code=1)).startswith("Error: 'c' is neither a run nor")


def test_served_shows_every_version_and_one_by_the_hour(tfx):
    tfx.full_run("a", "1001")
    tfx.full_run("b", "1002")
    lines = ask(tfx, "served").output.splitlines()
    assert lines[1].split()[0] == "1002" and "stable" in lines[1]
    assert "not any more" in lines[2]
    assert "until now" in ask(tfx, "served", "1002").output
    assert [m["version"] for m in json.loads(ask(tfx, "served", "--json").output)] == [
        "1002",
        "1001",
    ]


def test_gc_deletes_only_when_told_to(tfx):
    made = tfx.full_run("a", "1001")
    for artifact in tfx.store.get_artifacts():
        Path(artifact.uri).mkdir(parents=True)
    examples = Path(tfx.store.get_artifacts_by_id([made["examples"]])[0].uri)
    tfx.examples("b", span=474800)
    assert "nothing is unused" in ask(tfx, "gc").output
    assert "nothing was deleted" in ask(tfx, "gc", "--keep-runs", 1).output
    refused = CliRunner().invoke(
        cli, ["--store", str(tfx.path), "gc", "--keep-runs", "1", "--delete"], input="n\n"
    )
    assert refused.exit_code == 1
    assert examples.is_dir()
    assert f"deleted {examples}" in ask(tfx, "gc", "--keep-runs", 1, "--delete", "--yes").output
    assert not examples.exists()


def test_impact_of_a_file_tells_what_serves(tfx):
    made = tfx.full_run("a", "1001")
    tfx.manifest(made["examples"])
    assert "answers for stable" in ask(tfx, "impact", "00/a.json.gz").output


def test_names_are_completed_from_the_store(tfx):
    tfx.full_run("first", "1001")
    for words, expected in (
        ("show fi", ["first"]),
        ("trace 1", ["1001"]),
        ("diff f", ["first"]),
        ("diff first 1", ["1001"]),
    ):
        *before, incomplete = words.split()
        completion = ShellComplete(cli, {}, "lineage", "_LINEAGE_COMPLETE")
        found = completion.get_completions(["--store", str(tfx.path), *before], incomplete)
        assert [item.value for item in found] == expected


def test_a_store_that_cannot_be_read_completes_to_nothing(tmp_path):
    completion = ShellComplete(cli, {}, "lineage", "_LINEAGE_COMPLETE")
    arguments = ["--store", str(tmp_path / "none"), "show"]
    assert completion.get_completions(arguments, "l") == []


def test_the_completion_script_works_in_bash(tfx):
    tfx.full_run("first", "1001")
    script = ask(tfx, "completion").output
    tab = (
        f"COMP_WORDS=(lineage --store {tfx.path} show fi); COMP_CWORD=4; _lineage_completion\n"
        'echo "${COMPREPLY[@]}"; lineage --help'
    )
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{tab}"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == "first"
    assert "python -m lineage" in done.stdout


@pytest.mark.parametrize("command", ["show", "impact"])
def test_a_number_that_no_store_can_have_is_unknown(tfx, command):
    tfx.full_run("r", "1001")
    assert "no " in one_line(ask(tfx, command, "9" * 25, code=1))


def test_a_version_goes_before_an_artifact_of_that_number(tfx):
    """The version is the same small number as an execution's id."""
    tfx.full_run("a", "22")
    second = tfx.full_run("b", "1002")
    assert second["pushed_model"] == 22
    assert json.loads(ask(tfx, "trace", "22", "--json").output)["version"] == "22"
    assert json.loads(ask(tfx, "trace", "artifact:22", "--json").output)["version"] == "1002"


def test_what_was_not_pushed_is_no_model_to_compare_with(tfx):
    tfx.full_run("a", "1001")
    tfx.execute("b", "Pusher", outputs={"pushed_model": ("PushedModel", {"pushed": 0})})
    tfx.full_run("c", "1003")
    store = MetadataReader.sqlite(tfx.path)
    assert compare(store, None, "1003").before.name == "1001"


def test_stable_and_canary_name_the_versions_that_answer(tfx):
    tfx.full_run("r1", "1001")
    tfx.full_run("r2", "1002", release="canary_in_turn")
    output = ask(tfx, "trace", "stable").output
    assert "answers for  stable" in output
    assert "version 100" in output
    assert "nothing is canary now" in one_line(ask(tfx, "served", "canary", code=1))


def test_every_name_is_taken_by_every_command(tfx):
    made = tfx.full_run("2026001248", "1001")
    assert "run 2026001248" in ask(tfx, "show", "2026001248").output
    assert "run 2026001248" in ask(tfx, "show").output
    assert "PushedModel" in ask(tfx, "show", "model:1001").output
    assert "Model" in ask(tfx, "impact", f"artifact:{made['model']}").output
    for command in ("trace", "served"):
        for name in ("1001", "model:1001", "run:2026001248", f"artifact:{made['pushed_model']}"):
            assert "version 1001" in ask(tfx, command, name).output


def test_impact_of_a_number_says_if_it_is_a_version_too(tfx):
    made = tfx.full_run("r", "1001")
    tfx.full_run("s", str(made["examples"]))
    said = ask(tfx, "impact", made["examples"])
    assert f"the model of version {made['examples']} is artifact:" in said.output


def test_diff_of_the_newest_is_with_the_one_before(tfx):
    for run in ("1", "2"):
        tfx.full_run(f"run{run}", f"100{run}")
    assert ask(tfx, "diff", "latest").output.startswith("diff  run run1  run run2")
    assert ask(tfx, "diff", "1002").output.startswith("diff  model 1001  model 1002")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ended", "r"), "--yes and --ended go with --delete"),
        (("--yes",), "--yes and --ended go with --delete"),
        (("--delete", "--yes", "--ended", "nope"), "no run 'nope'"),
    ],
)
def test_gc_rejects_invalid_options(tfx, arguments, message):
    tfx.full_run("r", "1001")
    assert message in one_line(ask(tfx, "gc", *arguments, code=1))


def test_served_without_a_push_says_why(tfx):
    tfx.examples("r")
    assert "has no pushed model: none was blessed yet" in one_line(ask(tfx, "served", code=1))


def test_served_lists_the_newest(tfx):
    for number in range(4):
        tfx.full_run(f"r{number}", f"100{number}")
    output = ask(tfx, "served", "--limit", 3).output
    assert "1000" not in output
    assert "1 older versions; --limit shows more" in output
    assert len(json.loads(ask(tfx, "served", "--limit", 3, "--json").output)) == 4


@pytest.mark.parametrize("command", ["report", "export"])
def test_a_page_or_events_go_where_they_are_sent(tfx, tmp_path, command):
    """The target is a pipe, a link or a device, whose folder is not changed."""
    tfx.full_run("r", "1001")
    begins = "<!doctype html>" if command == "report" else '{"eventTime"'
    assert ask(tfx, command, "--out", "-").output.startswith(begins)
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    ask(tfx, command, "--out", link)
    assert link.is_symlink()
    assert target.read_text().startswith(begins)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["head", "-c", "10", pipe], stdout=subprocess.PIPE, text=True) as reader:
        program = [sys.executable, "-m", "lineage", "--store", tfx.path, command, "--out", pipe]
        subprocess.run(program, cwd=REPOSITORY, check=False, capture_output=True)
        assert reader.communicate()[0] == begins[:10]
    assert pipe.is_fifo()
    with pytest.raises(AssertionError):
        ask(tfx, command, "--out", "")


def test_what_a_report_is_made_of_is_for_a_program_too(tfx):
    made = tfx.full_run("r", "1001")
    found = json.loads(ask(tfx, "report", "--json").output)
    assert found["run"]["run_id"] == "r"
    assert found["dataset"]["accounts"]["read"] == 306
    assert found["artifacts"][str(made["model"])]["type"] == "Model"
    assert {"features", "drift", "anomalies", "curves", "evaluation", "logs"} <= found.keys()
    message = one_line(ask(tfx, "report", "--json", "--out", "x.html", code=1))
    assert "give --out for the page, or --json for a program" in message


def test_a_failed_run_says_why_and_where_its_log_is(tfx, tmp_path):
    tfx.execute("r", "Trainer", state=mlmd.Execution.FAILED)
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    (folder / "run_summary.json").write_text(json.dumps({"error": "no rows for hour 7"}))
    (folder / "run.log").touch()
    output = ask(tfx, "--summaries", folder.parent, "show", "r").output
    assert "error  no rows for hour 7" in output
    assert f"log  {folder / 'run.log'}" in output


def test_a_narrow_terminal_gets_fewer_columns_and_no_broken_numbers(tfx, monkeypatch):
    tfx.full_run("20261127-185724", "1001")
    shown = {}
    for width in (160, 60):
        monkeypatch.setattr(group, "console", functools.partial(Console, width=width))
        shown[width] = ask(tfx, "list").output
    assert "components" in shown[160]
    assert "wider terminal" not in shown[160]
    _, run, note = shown[60].splitlines()
    assert run.split()[:2] == ["20261127-185724", "474793"]
    assert note == "(a wider terminal shows pipeline, components, seconds, started)"


def test_a_closed_screen_is_no_trace(tfx):
    tfx.full_run("r", "1001")
    program = ["sh", "-c", f"{sys.executable} -m lineage --store {tfx.path} list >&-"]
    done = subprocess.run(program, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
