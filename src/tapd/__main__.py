"""``python -m tapd``: the same as the command ``tapd``."""

from tapd.cli.tapd import main

if __name__ == "__main__":
    main()
