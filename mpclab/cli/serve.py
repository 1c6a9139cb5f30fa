"""`mpclab serve`: a signaling server in this terminal."""

from __future__ import annotations

import time

from mpclab.cli.show import console
from mpclab.lab.lab import Lab


def serve(address: str, port: int) -> int:
    """Run the server until Ctrl-C, with its status on screen."""
    with Lab(world="websocket") as lab:
        status = lab.start_server(port, address)
        console.print(f"🟢 signaling server at [bold]{status.url}[/]  (Ctrl-C stops it)")
        console.print(
            f"[dim]a party joins with: mpclab party {status.url} --session ID --id 1 --parties 3[/]"
        )
        if address not in ("127.0.0.1", "localhost", "::1"):
            console.print(
                "[yellow]this address can be reached from other machines; put TLS in front of it[/]"
            )
        try:
            with console.status("") as line:
                while True:
                    line.update(repr(lab.server_status()))
                    time.sleep(0.5)
        except KeyboardInterrupt:
            lab.stop_server()
            console.print("🔴 stopped")
    return 0
