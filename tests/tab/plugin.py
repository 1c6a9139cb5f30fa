"""What `tests/conftest.py` sets for every test, where there is no Matplotlib."""

from hypothesis import HealthCheck, settings

from mpclab.core.node import Node

Node.strict = True
settings.register_profile(
    "tab",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=8,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("tab")
