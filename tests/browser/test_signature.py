"""From an empty session to a verified signature, by clicking in the Coordinator notebook."""

import re

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from playwright.sync_api import Locator, expect

from tests.browser.harness import SCREENSHOTS, LabDriver
from tests.browser.test_coordinator import PATIENCE, Clicker

pytestmark = pytest.mark.browser

MESSAGE = "Four parties owe Alice 100 francs."


def block(it: Clicker, number: int) -> Locator:
    """The n-th committed operation in the history; its tooltip is the whole result."""
    return it.panel("history").locator(".mpclab-block").nth(number - 1)


def result(it: Clicker, number: int, form: str) -> str:
    """The part of an operation's result that is in parentheses in `form`, once it is there."""
    expect(block(it, number)).to_have_attribute("title", re.compile(form), timeout=PATIENCE)
    found = re.search(form, block(it, number).get_attribute("title") or "")
    assert found
    return found[1]


def photograph(it: Clicker, name: str) -> None:
    """Keep a picture of the coordinator alone: the notebook around it is long."""
    SCREENSHOTS.mkdir(exist_ok=True)
    it.page.set_viewport_size({"width": 1400, "height": 2200})  # so that nothing is scrolled
    it.page.locator(".mpclab").first.screenshot(path=SCREENSHOTS / f"{name}.png")


@pytest.mark.parametrize("world", ["simulated", "webrtc"])
def test_from_an_empty_session_to_a_verified_signature(lab: LabDriver, world: str) -> None:
    it = Clicker(lab, lab.open_notebook("01_coordinator.ipynb"))
    it.page.get_by_role("button", name=world, exact=True).click()
    it.field("port").fill("0")
    it.field("port").press("Tab")
    it.click("Start server")
    it.says("server", "🟢 running")
    it.gather()

    it.turn_to("Operations")
    it.field("kind").select_option("dkg")
    expect(it.field("param-curve")).to_have_value("ed25519")
    it.click("Propose")
    it.says("operations", "ed25519 key")
    public = result(it, 1, r"^ed25519 key ([0-9a-f]{64}), 3 of 4$")

    it.field("kind").select_option("sign")
    it.field("param-message").fill(MESSAGE)
    it.field("param-message").press("Tab")
    it.click("Propose")
    it.says("operations", MESSAGE)
    signature = result(it, 2, r"^([0-9a-f]{128})$")
    it.says("operations", signature[:32])
    expect(it.panel("operations").locator(".mpclab-badge", has_text="executed")).to_have_count(2)
    it.says("history", "all heads are equal")
    photograph(it, f"signature-{world}")

    # What the page shows is all that an outsider needs.
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    key.verify(bytes.fromhex(signature), MESSAGE.encode())
    with pytest.raises(InvalidSignature):
        key.verify(bytes.fromhex(signature), b"Four parties owe Alice 900 francs.")
