"""`python -m slmd_model` is the same as the command `slmd-model`."""

import sys

from slmd_model.cli import main

sys.exit(main())
