"""Log lines: one each, and not without end."""

from __future__ import annotations

import io
import logging

import pytest

from base.log_text import OneLineFormatter, RateLimit

pytestmark = pytest.mark.unit


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO]:
    file = io.StringIO()
    handler = logging.StreamHandler(file)
    handler.setFormatter(OneLineFormatter())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, file


def test_nobody_forges_a_record(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, file = log
    logger.warning("model %s", "a\n2026-01-01 00:00:00,000 WARNING forged \x1b[2K\r")
    try:
        raise ValueError("b\n2026-01-01 00:00:00,000 WARNING forged")
    except ValueError:
        logger.exception("failed")
    lines = file.getvalue().splitlines()
    assert lines[0].endswith("WARNING model a\\n2026-01-01 00:00:00,000 WARNING forged \\x1b[2K\\r")
    assert lines[1].endswith("ERROR failed")
    assert all(line.startswith("  ") for line in lines[2:])
    assert "ValueError: b" in file.getvalue()


def test_a_flood_is_counted(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, file = log
    now = 0.0
    logger.handlers[0].addFilter(RateLimit(lambda: now))
    for number in range(1000):
        logger.error("no file %d", number)
        logger.info("another place") if number == 500 else None
    assert len(file.getvalue().splitlines()) == 21
    now = 10.0
    for number in range(3):
        logger.error("no file %d", number) if number else None
    logger.error("more")
    assert len(file.getvalue().splitlines()) == 24
    for number in range(2):
        if number:
            now = 30.0
        for _ in range(25):
            logger.error("same place %d", number)
    assert file.getvalue().count("(5 such lines before were left out)") == 1
