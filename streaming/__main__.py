"""python -m streaming --help"""

from streaming.commands import main

if __name__ == "__main__":
    main(prog_name="python -m streaming")
