"""The place and the format of a table are found by its path."""

from __future__ import annotations

import pytest

from applications.commands.scaffold import writing
from applications.commands.scaffold.data_files import find_data_files
from base.errors import ComponentError

pytestmark = pytest.mark.unit


def test_a_file_a_folder_and_a_pattern(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("x,y\n3,4\n")
    for given, path in (
        (tmp_path / "a.csv", "a.csv"),
        (tmp_path, "*.csv"),
        (f"{tmp_path}/?.csv", "?.csv"),
    ):
        found = find_data_files(str(given))
        assert (found.root, found.path, found.format) == (str(tmp_path), path, "csv")
        assert found.columns == ("x", "y")


@pytest.mark.parametrize(("header", "option"), [("a;b", ";"), ("a\tb", "\\t"), ("a|b", "|")])
def test_the_separator_is_that_of_the_header(tmp_path, header, option):
    (tmp_path / "a.csv").write_text(f"{header}\n")
    assert find_data_files(str(tmp_path / "a.csv")).options == {"sep": option}


@pytest.mark.parametrize(
    ("files", "given", "problem"),
    [
        ({}, "none.csv", "no such file or folder"),
        ({}, "*.csv", "no such files"),
        ({}, ".", "Found: none"),
        ({"a.csv": "x", "b.jsonl": "{}"}, ".", r"Found: 1 \*\.csv, 1 \*\.jsonl"),
        ({"a.csv": "x\n", "b.csv": "y\n"}, ".", "different|other|give all files"),
        ({"a[1].csv": "x"}, "a[1].csv", "may not have one of"),
        ({"a*.csv": "x"}, "a*.csv", "without"),
        ({"a.xlsx": "x"}, "a.xlsx", "ends with .csv"),
        ({"a.csv": ""}, "a.csv", "empty"),
        ({"a.csv": "x,x\n"}, "a.csv", "two columns named 'x'"),
        ({"a.csv": "PK\x03\x04"}, "a.csv", "zip"),
        ({}, "s3a://bucket/a.csv", "local or mounted"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, monkeypatch, files, given, problem):
    monkeypatch.chdir(tmp_path)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ComponentError, match=problem) as caught:
        find_data_files(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Churn", "1a", "a-b", "class", "", "../x", "commands", "_x", "ü"])
def test_a_name_that_is_no_package_is_an_error(name):
    with pytest.raises(ComponentError, match="NAME: expected"):
        writing.check_name(name)


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "etl.py").write_text("mine")
    with pytest.raises(ComponentError, match="exists and is not overwritten"):
        writing.write(tmp_path / "own", {"etl.py": "new"})
    assert (tmp_path / "own" / "etl.py").read_text() == "mine"
