"""``python -m hyperrl``: the command line where scripts are not on the path, under debuggers and launchers."""

import sys

from hyperrl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
