"""What strangers say to a tab that is a server, and codes that anybody may have written."""

import json
import subprocess
from pathlib import Path

from mpclab.web import packages
from mpclab.web.assets import STATIC


def test_nothing_that_comes_by_air_wire_or_code_ends_a_tab() -> None:
    script = Path(__file__).parent / "fuzz.mjs"
    command = [*packages.node(), str(script), str(STATIC)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    told = json.loads(ran.stdout)
    assert told["escaped"] == []
    assert told["malformed"] == []
    assert told["found"] == []  # no line of a description that we did not write
    assert told["taken"] > 50
    assert told["refused"] > 1_000
    assert told["told"] > 200
