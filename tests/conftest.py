"""What holds for every test: figures draw without a screen, and property tests repeat."""

import matplotlib
from hypothesis import HealthCheck, settings

from mpclab.core.node import Node

# Not by MPLBACKEND: the kernels of notebooks would inherit it and show no figures.
matplotlib.use("Agg")

# A handler that raises must have changed nothing, in whatever test it does.
Node.strict = True

# `make test` draws the same examples each time, so that a failure is the change's and not the
# dice's. `pytest --hypothesis-profile=explore` draws new ones.
_COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fixed", _COMMON, derandomize=True, database=None)
settings.register_profile("explore", _COMMON)
settings.load_profile("fixed")
