"""Default options of Beam. This module does not import TFX, because workers read it."""

from __future__ import annotations

from collections.abc import Sequence

# Beam's default, `DirectRunner`, first downloads another runner (Prism) from the internet without
# checking it, and uses that one. Without a network it falls back to this one.
LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
# Without an image, TFX packs itself for remote workers in each step, which takes 1.6 s and leaves
# 49 MB in the temporary folder.
NO_PACKAGE = "--sdk_container_image=none"
# Beam would otherwise start one process for each core of the machine instead of the container.
ONE_PROCESS = ("--direct_num_workers=1", NO_PACKAGE)


def with_runner(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments, with Beam's runner for one machine if they name no runner."""
    if any(argument.split("=")[0] == "--runner" for argument in arguments):
        return [*arguments]
    return [f"--runner={LOCAL_RUNNER}", *arguments]
