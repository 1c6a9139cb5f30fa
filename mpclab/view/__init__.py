"""The living picture: a space-time diagram to zoom, filter and click, in a notebook or a page."""

from mpclab.view.feed import Feed
from mpclab.view.page import Living, page, script

__all__ = ["Feed", "Living", "page", "script"]
