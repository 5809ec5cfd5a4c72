"""Beam's options where a config says none; workers load no TFX to read them."""

from __future__ import annotations

from collections.abc import Sequence

# Beam's `DirectRunner`, its default, first downloads another one (Prism) from the internet, checks
# nothing of it, and runs the pipeline in it; without a network it ends up with this one.
LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
# Where no image is named TFX packs itself for workers elsewhere, in each step: 1.6 s, and 49 MB
# that stay in the temporary folder.
NO_PACKAGE = "--sdk_container_image=none"
# In the step's own process: Beam would take the cores of the machine for those of its container.
ONE_PROCESS = ("--direct_num_workers=1", NO_PACKAGE)


def with_runner(arguments: Sequence[str]) -> list[str]:
    """The arguments, with Beam's runner for one machine where they name none."""
    if any(argument.split("=")[0] == "--runner" for argument in arguments):
        return [*arguments]
    return [f"--runner={LOCAL_RUNNER}", *arguments]
