from lineage.commands import main

main()
