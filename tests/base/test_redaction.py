"""No secret in anything that a process says."""

from __future__ import annotations

import io
import json
import logging

import pytest
from rich.table import Table

from base.console import Failure, PlainConsole
from base.log_text import OneLineFormatter
from base.redaction import hide, hide_variables, redacted, variables_named

pytestmark = pytest.mark.unit

SECRET = 'p\u00e4"s\\s /w?rd'


def test_a_secret_is_found_as_others_write_it() -> None:
    assert redacted(SECRET) == SECRET
    hide([SECRET, None, ""])
    dumped = json.dumps(SECRET), json.dumps(SECRET, ensure_ascii=False)
    for text in (*dumped, repr(SECRET), repr(SECRET.encode()), "p%C3%A4%22s%5Cs%20%2Fw%3Frd"):
        assert redacted(f"({text})").strip("b()'\"") == "***"
    assert redacted(f"({SECRET})") == "(***)"
    assert redacted("nothing") == "nothing"


def test_screen_errors_and_logs_leave_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "hunter22")
    hide_variables(["SHOP_PASSWORD", "NOT_SET"])
    file = io.StringIO()
    console = PlainConsole(file=file, width=20)
    table = Table("a")
    table.add_row("see hunter22 here")
    console.print(table)
    console.print("a line that is broken at hunter22 and so on")
    assert "unter" not in file.getvalue().replace("\n", "")
    assert Failure("no: hunter22").message == "no: ***"
    record = logging.LogRecord("a", logging.INFO, "", 1, "%s", ("hunter22",), None)
    assert OneLineFormatter("%(message)s").format(record) == "***"


def test_the_variables_that_a_config_names() -> None:
    content = {
        "metadata": {"password_env": "A"},
        "sources": [{"options_env": {"kafka.sasl.jaas.config": "B"}, "url": "C"}],
        "streaming": {"kafka": {"producer_options_env": {"x": "D"}}, "feedback_key_env": None},
    }
    assert variables_named(content) == {"A", "B", "D"}
