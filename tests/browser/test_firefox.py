"""A tab of Firefox and parties of ours: linked directly, to a signature that OpenSSL accepts."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mpclab.lab import Lab
from mpclab.web import assets, pages
from mpclab.worlds.real import ServerSettings
from tests.browser.firefox import firefox
from tests.browser.harness import SCREENSHOTS

STATES = "[...document.querySelectorAll('.op h3')].map((h) => h.textContent).join('; ')"

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]


def test_a_tab_of_firefox_and_parties_of_ours_make_a_key_and_sign(tmp_path: Path) -> None:
    settings = ServerSettings(pages=pages.load(assets.ready()), per_address=0)
    with Lab(
        world="webrtc", session="fox", parties=3, threshold=2, agreement="raft",
        options={"server": settings},
    ) as lab:  # fmt: skip
        url = lab.start_server(0).url
        lab.spawn(2, 3)
        lab.join()
        link = {
            "session": "fox", "parties": 3, "threshold": 2, "policy": "unanimous",
            "agreement": "raft",
        }  # fmt: skip
        with firefox(tmp_path) as tab:
            tab.open(f"http{url.removeprefix('ws')}/#{urlencode(link)}")
            tab.until("document.querySelectorAll('[name=tell]').length", lambda there: there == 1)
            tab.evaluate(
                "document.querySelector('[name=party]').value = 1;"
                " document.querySelector('[name=tell]').checked = true"
            )
            tab.click("Join")
            tab.until(
                "document.querySelector('#status').textContent",
                lambda said: "3 of 3 connected" in said,
            )
            tab.until(
                "document.querySelector('.people').textContent",
                lambda said: said.count("connected directly") == 2,
            )
            tab.evaluate(
                "(() => { const kind = document.querySelector('[name=kind]'); kind.value = 'dkg';"
                " kind.dispatchEvent(new Event('change')); })()"
            )
            tab.click("Propose")
            tab.until(STATES, lambda said: said.count("done") == 1)
            lab.propose(by=2, kind="sign", key=1, message="from the fox's friends")
            tab.until(STATES, lambda said: "friends" in said)
            tab.click("Approve")
            tab.until(STATES, lambda said: said.count("done") == 2)
            made, signed = lab.run()
            statuses = [[one.status for one in o.parties.values()] for o in (made, signed)]
            assert statuses == [["executed"] * 3] * 2
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(str(made.data["public_key"])))
            public.verify(bytes.fromhex(str(signed.data["signature"])), b"from the fox's friends")
            SCREENSHOTS.mkdir(exist_ok=True)
            (SCREENSHOTS / "tab-firefox.png").write_bytes(base64.b64decode(tab.screenshot()))
            assert tab.complaints == []
