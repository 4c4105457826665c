"""`python -m duologue.cli`."""

import sys

from duologue.cli import main

sys.exit(main())
