from lineage.command import questions  # noqa: F401 - they join the group
from lineage.command.group import main

main()
