"""What strangers say to a tab that is a server, codes that anybody may write, two tabs at once."""

import json
import subprocess
from pathlib import Path
from typing import Any

from mpclab.web import packages
from mpclab.web.assets import STATIC


def answers(script: str) -> Any:
    """What a script beside this file makes of the page's modules."""
    command = [*packages.node(), str(Path(__file__).parent / script), str(STATIC)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout)


def test_nothing_that_comes_by_air_wire_or_code_ends_a_tab() -> None:
    told = answers("fuzz.mjs")
    assert told["escaped"] == []
    assert told["malformed"] == []
    assert told["found"] == []  # no line of a description that we did not write
    assert told["taken"] > 50
    assert told["refused"] > 1_000
    assert told["told"] > 200


def test_a_name_has_one_server_among_the_tabs_of_a_browser() -> None:
    told = answers("locks.mjs")
    other = "another tab of this browser is that server"
    already = "this tab is a server already; stop it first"
    assert told == [["ok x", other], already, other, "ok x", ["no", "ok x"], ["mpclab server x"]]
