"""File descriptors: each connection takes one, each end of a data channel one for each address."""

from __future__ import annotations

import errno
from contextlib import suppress

MOST = 65_536
_OURS = 40
"""What a process has open besides: its loop, its libraries, its output."""


def raise_descriptor_limit() -> None:
    """Use as many descriptors as the system allows us."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def needed(parties: int, *, channels: bool) -> int:
    """About how many a process takes in which `parties` and their server live."""
    return _OURS + 2 * parties + (parties * (parties - 1) if channels else 0)


def explained(error: Exception, parties: int, *, channels: bool) -> Exception:
    """`error`, or where descriptors have run out, one that says how many there are and should
    be: the first to have none left may be anybody."""
    if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
        return error
    there = "too few"
    with suppress(ImportError, OSError):
        import resource

        there = str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    wanted = needed(parties, channels=channels)
    return OSError(
        error.errno,
        f"no descriptor is left: this process may have {there} (see `ulimit -n`), and "
        f"{parties} parties here need about {wanted}",
    )
