import sys

try:
    from lineage.command import export, pages, questions  # noqa: F401 - they join the group
    from lineage.command.group import main
except KeyboardInterrupt:  # later, click says the same
    sys.exit("Aborted!")

main()
