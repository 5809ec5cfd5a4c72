from dev_services.command import main

main()
