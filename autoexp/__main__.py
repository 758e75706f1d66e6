"""`python -m autoexp`."""

import sys

from autoexp.cli import main

sys.exit(main())
