"""`mpclab new FILE`: a scenario file to begin with, which runs as it stands and says what else can
be written."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from mpclab.core.errors import UsageError

TEMPLATE: Final = """\
# A scenario: what is agreed on, by whom, over which network, and what goes wrong.
#   mpclab run {name}          runs it and judges what happened
#   mpclab run {name} --html run.html   makes a page of the run, to open and to send
# A line that begins with `#-` is a field at its default, or an example: take the `#-` away.

name: four parties, one of them crashes

world: simulated            # or websocket, webrtc: real sockets on this machine
parties: 4
#-threshold: 3             # how many are needed to use a shared key; by default a majority
policy: unanimous           # who must approve: unanimous, or threshold(3)
agreement: direct           # how all come to one record: direct, 2pc, raft, pbft, hotstuff, …
#-network: {{delay: "normal(10ms, 3ms)", loss: 0.01}}
seed: 7                     # another seed, another run; the same seed, the same run

# How parties vote: approve (the default), reject, silent or validate.
#-votes: {{3: reject}}

# What is proposed, by whom, and when, counted from when all are connected.
operations:
  - {{at: 0s, by: 1, kind: note, text: "tea at four"}}
  - {{at: 3s, by: 2, kind: note, text: "and cake"}}

# What goes wrong. docs/reference.md lists every kind, `mpclab.faults` says what each does.
faults:
  - {{at: 1s, kind: crash, party: 4, restart_after: 3s}}
#-  - {{at: 500ms, for: 2s, kind: partition, groups: [[1, 2], [3, 4]]}}
#-  - {{at: 0s, kind: equivocate, party: 1}}

checks: [agreement, validity, integrity, termination]
until: 30s                  # at the latest; a run ends when everything is settled
#-patience: 10s            # how long a proposal waits for votes
"""


def new(file: Path) -> Path:
    """Write the scenario (`.yaml`, unless its name has another ending); what is there stays.

    Raises:
        UsageError: there is such a file, or it cannot be written.
    """
    if not file.name:
        raise UsageError(f"{file}: this is a folder; give the file a name")
    file = file if file.suffix else file.with_suffix(".yaml")
    try:
        with file.open("x", encoding="utf-8") as made:
            made.write(TEMPLATE.format(name=shlex.quote(str(file))))
    except FileExistsError:
        raise UsageError(f"{file} is there already, and stays as it is; name another") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
    return file
