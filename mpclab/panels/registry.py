"""The panels of your own, which `Coordinator` shows below the house's.

@register
class Clock(Panel):
    title, name = "Clock", "clock"
    ...
"""

from mpclab.core.registry import Registry
from mpclab.panels.panel import Panel

PANELS: Registry[type[Panel]] = Registry(
    "panel",
    accepts=lambda thing: isinstance(thing, type) and issubclass(thing, Panel),
    word=lambda panel: panel.name,
)
