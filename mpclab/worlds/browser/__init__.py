"""The world of a browser tab: one party, or a server too, whose links are those of its page."""

from mpclab.worlds.browser.loop import PageLoop
from mpclab.worlds.browser.page import Page
from mpclab.worlds.browser.world import BrowserWorld

__all__ = ["BrowserWorld", "Page", "PageLoop"]
