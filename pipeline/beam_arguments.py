"""Beam's options where a config says none; workers load no TFX to read them."""

# Where no image is named TFX packs itself for workers elsewhere, in each step: 1.6 s, and 49 MB
# that stay in the temporary folder.
NO_PACKAGE = "--sdk_container_image=none"
# In the step's own process: Beam would take the cores of the machine for those of its container.
ONE_PROCESS = ("--direct_num_workers=1", NO_PACKAGE)
