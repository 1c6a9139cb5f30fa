"""The browser that shows a notebook is a party beside those of the kernel."""

import pytest
from playwright.sync_api import Page, expect

from mpclab.web import assets
from tests.browser.harness import LabDriver
from tests.browser.tabs import PATIENCE, approve, is_connected, is_done, propose

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

CELL = """\
from mpclab.lab import Lab
from mpclab.panels import BrowserParty

lab = Lab(world="webrtc", parties=3, threshold=2, agreement="raft", session="beside")
lab.start_server(0)
lab.spawn(1, 2)
lab.join()
lab.inject("no-link", from_=[2], to=[3])  # so that all of it goes over the comm
BrowserParty(lab)
"""
IN_KERNEL = """async (code) => {
    const { kernel } = jupyterapp.shell.currentWidget.context.sessionContext.session;
    const future = kernel.requestExecute({ code });
    let said = '';
    future.onIOPub = ({ header, content }) => {
        if (header.msg_type === 'stream') said += content.text;
        if (header.msg_type === 'error') said += content.ename + ': ' + content.evalue;
    };
    await future.done;
    return said;
}"""


def in_kernel(page: Page, code: str) -> str:
    return str(page.evaluate(IN_KERNEL, code))


def test_the_viewers_browser_is_a_party_beside_the_kernels(lab: LabDriver) -> None:
    """With one of them over a link, with the other over the comm, where no link can be."""
    assets.ready()  # which takes longer than a cell may, the first time
    page = lab.open_notebook(lab.write_notebook("beside.ipynb", CELL))
    frame = page.frame_locator("iframe.mpclab-browser-party")
    is_connected(frame, 3)
    # The server sees one client more, which came by the kernel: the page opened no socket.
    assert page.evaluate(
        "performance.getEntriesByType('resource').every((r) => !/^ws/.test(r.name))"
    )
    people = frame.locator(".people li")
    expect(people.nth(0)).to_contain_text("connected directly", timeout=PATIENCE)
    expect(people.nth(1)).to_contain_text("connected through the server, sealed")
    propose(frame, "dkg")
    is_done(frame, "make a key together")
    in_kernel(page, "lab.propose(by=1, kind='sign', key=1, message='from the kernel')")
    approve(frame, "from the kernel")
    is_done(frame, "from the kernel")
    said = in_kernel(
        page,
        "for o in lab.run():\n"
        "    print(o.kind, o.by, o.status, [o.parties[p].status for p in (1, 2, 3)])",
    )
    everywhere = "committed ['executed', 'executed', 'executed']"
    assert said.splitlines() == [f"dkg 3 {everywhere}", f"sign 1 {everywhere}"]
    expect(frame.locator("ol.history li")).to_have_count(2, timeout=PATIENCE)
    lab.screenshot(page, "browser-party-1280")
    page.evaluate("document.querySelector('iframe.mpclab-browser-party').remove()")
    assert in_kernel(page, "lab.close()") == ""
