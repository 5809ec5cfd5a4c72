"""Completes run ids and versions in a shell, from the store that the command line names."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from lineage.command.group import COMPLETE_VARIABLE, cli, open_store
from metadata import names
from metadata.pushed_models import version_of
from metadata.reader import MetadataError, MetadataReader
from metadata.records import Artifact

_Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
_MOST = 50


def _completing(names: Callable[[MetadataReader], dict[str, str]]) -> _Complete:
    """Completes nothing if the store cannot be read; the command itself reports the error."""

    def complete(
        ctx: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        try:
            found = names(open_store(ctx, dict(ctx.params), quiet=True).store)
        except MetadataError:
            return []
        return [
            CompletionItem(name, help=text)
            for name, text in found.items()
            if name.startswith(incomplete)
        ][:_MOST]

    return complete


def _runs(store: MetadataReader) -> dict[str, str]:
    return {"latest": "the newest run", **dict.fromkeys(store.run_ids(), "run")}


def _models(store: MetadataReader) -> dict[str, str]:
    found: list[Artifact] = store.artifacts_of_type(names.PUSHED_MODEL)
    versions = {version_of(a): f"pushed {a.created:%Y-%m-%d %H:%M} UTC" for a in found}
    return {"latest": "the newest one", **{name: text for name, text in versions.items() if name}}


RUNS: _Complete = _completing(_runs)
MODELS: _Complete = _completing(_models)
RUNS_AND_MODELS: _Complete = _completing(lambda store: {**_runs(store), **_models(store)})


_SCRIPT = """\
# Completion for bash, and for zsh with bashcompinit:  eval "$(python -m lineage completion)"
lineage() {{ {python} -m lineage "$@"; }}
if [ -n "${{ZSH_VERSION-}}" ]; then autoload -U +X bashcompinit && bashcompinit; fi
_lineage_completion() {{
    local IFS=$'\\n' line
    COMPREPLY=()
    for line in $(COMP_WORDS="${{COMP_WORDS[*]}}" COMP_CWORD=$COMP_CWORD \\
            {variable}=bash_complete {python} -m lineage 2>/dev/null); do
        case ${{line%%,*}} in
            plain) COMPREPLY+=("${{line#*,}}") ;;
            *) compopt -o default 2>/dev/null ;;  # the shell completes paths
        esac
    done
}}
complete -F _lineage_completion lineage
"""


@cli.command()
def completion() -> None:
    """Prints a shell script that defines `lineage` and completes commands, runs and versions.

    \b
    eval "$(python -m lineage completion)"        in ~/.bashrc or ~/.zshrc
    lineage trace <TAB>
    """
    # The command works from any folder.
    root = shlex.quote(str(Path(__file__).resolve().parents[2]))
    python = f"PYTHONPATH={root}${{PYTHONPATH:+:$PYTHONPATH}} {shlex.quote(sys.executable)}"
    click.echo(_SCRIPT.format(python=python, variable=COMPLETE_VARIABLE), nl=False)
