"""``python -m tapd``: the same as the command ``tapd``."""

from tapd.cli.tapd.command import main

if __name__ == "__main__":
    main()
