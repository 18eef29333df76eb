"""`python -m splitrail` is the `splitrail` command."""

import sys

from splitrail.cli import main

sys.exit(main())
