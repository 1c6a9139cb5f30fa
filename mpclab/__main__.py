"""`python -m mpclab` is `mpclab`."""

import sys

from mpclab.cli import main

sys.exit(main())
