"""`python -m raypipe` is the command `raypipe`."""

import sys

from raypipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
