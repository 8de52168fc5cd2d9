"""``python -m hyperrl.cli``."""

import sys

from hyperrl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
