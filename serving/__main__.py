"""Runs the commands of `python -m serving --help`."""

from __future__ import annotations

import sys

from serving.commands import main

if __name__ == "__main__":
    sys.exit(main())
