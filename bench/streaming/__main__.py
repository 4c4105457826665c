"""`python -m bench.streaming`: see `benefits`."""

import sys

from bench.streaming.benefits import main

sys.exit(main())
