"""README's first picture, as it really is: `python -m tools.first_picture [FILE]`.

A notebook in JupyterLab and a phone, in one session: three parties are the kernel's, the fourth is
a tab at the server that the notebook started. They make a key and sign; then both are photographed,
and the two photographs are put side by side.
"""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from mpclab.web import assets
from tests.browser.harness import LabDriver, browser, jupyter_server
from tests.browser.tabs import PATIENCE, approve, is_connected, is_done

TARGET = Path(__file__).parents[1] / "docs" / "images" / "session.png"
MOST_BYTES = 200_000
NOTEBOOK = (1180, 800)
PHONE = (390, 800)
SERVE = """\
from mpclab.lab import Lab
from mpclab.panels import Coordinator
from mpclab.web import assets, pages
from mpclab.worlds.real import ServerSettings

here = ServerSettings(pages=pages.load(assets.ready()))  # a page for phones
lab = Lab(world="webrtc", parties=4, threshold=3, agreement="raft", session="shop",
          patience="600s", options={"server": here})"""
MEET = """\
lab.start_server(0)
lab.spawn(1, 2, 3)
lab.join()
lab.server_status().url"""
SHOW = "Coordinator(lab)"
URL = """() => jupyterapp.shell.currentWidget.content.widgets.flatMap(
    (cell) => cell.model.outputs?.toJSON() ?? []).map((output) => output.data?.['text/plain'] ?? '')
    .map((text) => /ws:[^']*/.exec(text)?.[0]).find(Boolean)"""
IN_KERNEL = """(code) => jupyterapp.shell.currentWidget.context.sessionContext.session.kernel
    .requestExecute({ code }).done"""
SIDE_BY_SIDE = """<body style="margin:0;padding:18px;display:flex;gap:26px;align-items:center;
background:#e9edf2;width:max-content;height:max-content"><img src="{notebook}"
style="width:{wide}px;border-radius:8px;
box-shadow:0 2px 14px #0003"><img src="{phone}" style="width:{narrow}px;border:9px solid #1c2733;
border-radius:30px;box-shadow:0 2px 14px #0004"></body>"""


def photographed(launched: Browser, folder: Path) -> tuple[bytes, bytes]:
    """The notebook and the phone, PNG."""
    with jupyter_server(folder) as jupyter:
        driver = LabDriver(jupyter, launched)
        page = driver.open_notebook(driver.write_notebook("shop.ipynb", SERVE, MEET, SHOW))
        phone = launched.new_context(
            viewport={"width": PHONE[0], "height": PHONE[1]}, device_scale_factor=1
        ).new_page()
        url = page.evaluate(URL)
        link = "session=shop&party=4&parties=4&threshold=3&policy=unanimous&agreement=raft&tell=yes"
        phone.add_init_script("sessionStorage.setItem('mpclab tell', 'shop')")
        phone.goto(f"http{url.removeprefix('ws').rstrip('/')}/#{link}")
        is_connected(phone, 4)
        work(page, phone)
        page.set_viewport_size({"width": NOTEBOOK[0], "height": NOTEBOOK[1]})
        page.locator(".mpclab").first.scroll_into_view_if_needed()
        page.evaluate("document.querySelector('.mpclab').scrollIntoView({ block: 'start' })")
        phone.evaluate("window.scrollTo(0, 0)")
        page.wait_for_timeout(1500)  # widgets lay themselves out anew
        both = page.screenshot(), phone.screenshot()
        page.evaluate(IN_KERNEL, "lab.close()")
        driver.close()
        return both


def work(page: Page, phone: Page) -> None:
    """A key, a signature, and a proposal that waits for the phone."""
    page.evaluate(IN_KERNEL, "lab.propose(by=1, kind='dkg')")
    approve(phone, "make a key together")
    is_done(phone, "make a key together")
    page.evaluate(IN_KERNEL, "lab.propose(by=2, kind='sign', key=1, message='pay 5 to Eve')")
    approve(phone, "pay 5 to Eve")
    is_done(phone, "pay 5 to Eve")
    page.evaluate(IN_KERNEL, "lab.propose(by=3, kind='note', text='tea at four?')")
    waits = phone.locator(".op", has_text="tea at four?").get_by_role("button", name="Approve")
    expect(waits).to_be_visible(timeout=PATIENCE)
    page.get_by_role("tab", name="Operations", exact=True).click()


def composed(launched: Browser, notebook: bytes, phone: bytes) -> bytes:
    page = launched.new_page(viewport={"width": 1500, "height": 900})
    shown = {
        name: f"data:image/png;base64,{base64.b64encode(data).decode()}"
        for name, data in (("notebook", notebook), ("phone", phone))
    }
    page.set_content(SIDE_BY_SIDE.format(**shown, wide=920, narrow=300))
    return page.locator("body").screenshot()


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    assets.ready()  # which takes longer than a cell may, the first time
    with browser() as launched, tempfile.TemporaryDirectory() as folder:
        picture = composed(launched, *photographed(launched, Path(folder)))
    target.write_bytes(picture)
    for colours in (256, 128, 64, 32):  # of a screen there are few
        Image.open(target).convert("RGB").quantize(colours).save(target, optimize=True)
        if target.stat().st_size <= MOST_BYTES:
            break
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
