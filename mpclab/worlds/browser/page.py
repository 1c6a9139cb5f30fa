"""What Python in a tab wants of its page: a few verbs, performed in order (`web/static/page.js`).

Links have numbers, given here, never twice. `text` and `data` of a verb:

==========  ==============================================  ==================================
verb        text                                            answered by `BrowserWorld`'s
==========  ==============================================  ==================================
connect     a server's url, see `world`                     `opened`, then `received`, `closed`
say         one message to the server, or to a client
close       why; nothing is told of this link any more
listen      a NAME: be the server `tab:NAME`                `accepted`, `greeted` for each client
hush                                                        (the opposite of listen)
offer       JSON: label, ice, relay_only                    `described`
answer      JSON: label, ice, relay_only, sdp               `described`
take        the peer's answer
candidates  JSON: a list of lines
send        (data) one message on a data channel
keep        (data) the name of an item of a store, see `store.name_of`
forget      the name of an item
==========  ==============================================  ==================================

`keep` and `forget` are durable before any later verb is performed: so a vote is stored before it is
sent, though the browser's database has no call that waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Page(Protocol):
    """The page's side."""

    def perform(self, verb: str, link: int, text: str = "", data: bytes | None = None) -> None:
        """Queue a verb."""

    def wake_in(self, milliseconds: float, callback: Callable[[], None]) -> None:
        """Call `callback` once, in so many milliseconds; a later call replaces an earlier one."""
