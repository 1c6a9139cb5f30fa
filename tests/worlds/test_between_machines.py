"""Parties on machines of their own: network namespaces with a rate, with loss, an address that
changes, and a real TURN server. Linux, where the machine lets a user have namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpclab.lab import Lab
from mpclab.worlds.real.data_channel import ChannelSettings, IceServer
from tests.services import TURN_LOGIN, free_port, running, turn_server


def _has_namespaces() -> bool:
    tools = all(map(shutil.which, ("unshare", "nsenter", "ip")))
    return (
        tools and subprocess.run(["unshare", "-Urn", "true"], capture_output=True).returncode == 0
    )


MACHINES = '''
    import contextlib, random, re, socket, subprocess, sys, threading, time

    def sh(*words):
        subprocess.run(words, check=True, capture_output=True, text=True)

    class Machine:
        """A namespace with one cable to the switch, the namespace that we are in."""

        def __init__(self, k):
            self.k = k
            self.life = subprocess.Popen(["unshare", "-n", "sleep", "600"])
            while subprocess.run(["nsenter", "-t", str(self.life.pid), "-n", "ip", "link", "show",
                                  "lo"], capture_output=True, text=True).stdout.count("UP"):
                time.sleep(0.01)  # it is in ours still
            sh("ip", "link", "add", f"v{k}", "type", "veth", "peer", "name", "eth0", "netns",
               str(self.life.pid))
            sh("ip", "link", "set", f"v{k}", "master", "switch")
            sh("ip", "link", "set", f"v{k}", "up")
            self.sh("ip", "link", "set", "lo", "up")
            self.sh("ip", "link", "set", "eth0", "up")
            self.sh("ip", "addr", "add", f"10.9.0.{k}/24", "dev", "eth0")

        def sh(self, *words):
            sh("nsenter", "-t", str(self.life.pid), "-n", *words)

        def start(self, *words):
            command = ["nsenter", "-t", str(self.life.pid), "-n", sys.executable, "-u", "-m",
                       "mpclab", *words]
            return Program(subprocess.Popen(command, stdout=subprocess.PIPE,
                                            stderr=subprocess.STDOUT, text=True))

    class Program:
        def __init__(self, popen):
            self.popen, self.seen = popen, []

        def until(self, pattern):
            for line in self.popen.stdout:
                self.seen.append(line)
                if re.search(pattern, line):
                    return
            raise SystemExit(f"no {pattern!r} in " + "".join(self.seen))

    def lose(k, part):
        """Machine k's cable loses `part` of all frames from now on, each way: we carry them."""
        sh("ip", "link", "set", f"v{k}", "nomaster")
        sh("ip", "link", "add", f"w{k}", "type", "veth", "peer", "name", f"x{k}")
        sh("ip", "link", "set", f"x{k}", "master", "switch")
        ends = []
        for name in (f"w{k}", f"x{k}"):
            sh("ip", "link", "set", name, "up")
        for name in (f"v{k}", f"w{k}"):
            end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            end.setsockopt(263, 15, 1)  # PACKET_VNET_HDR: checksums are left to the receiver
            end.bind((name, 3))  # ETH_P_ALL
            ends.append(end)
        rng = random.Random(k)

        def carry(source, target):
            while True:
                frame, (_, _, kind, *_) = source.recvfrom(1 << 17)
                if kind == socket.PACKET_OUTGOING:
                    continue
                if rng.random() < part:
                    lost.append(len(frame))
                else:
                    with contextlib.suppress(OSError):
                        target.send(frame)

        for source, target in (ends, ends[::-1]):
            threading.Thread(target=carry, args=(source, target), daemon=True).start()

    lost = []
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", "switch", "type", "bridge")
    sh("ip", "link", "set", "switch", "up")
    machines = {k: Machine(k) for k in (1, 2, 3, 4)}
    for k in (3, 4):  # two slow lines
        machines[k].sh("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "2mbit", "burst",
                       "16k", "latency", "200ms")
    lose(2, 0.1)  # a bad radio link: party 1's
    started = []
    try:
        server = machines[1].start("serve", "--address", "10.9.0.1", "--port", "8080")
        started.append(server)
        server.until("signaling server at")
        shared = ["ws://10.9.0.1:8080", "--session", "s", "--parties", "3",
                  "--policy", "threshold(2)", "--agreement", "raft"]
        parties = {}
        for p in (1, 2, 3):
            more = ["--propose", "from machine to machine"] if p == 1 else []
            parties[p] = machines[p + 1].start("party", *shared, "--id", str(p), *more)
            started.append(parties[p])
        for p, party in parties.items():
            party.until("executed.*from machine to machine")
            for q in {*parties} - {p}:  # a data channel to each, perhaps after a while by relay
                if not any(f"party {q}: confirmed" in line for line in party.seen):
                    party.until(f"party {q}: confirmed")
        # Party 3 moves: its machine gets another address, and the old one is gone.
        machines[4].sh("ip", "addr", "del", "10.9.0.4/24", "dev", "eth0")
        machines[4].sh("ip", "addr", "add", "10.9.0.44/24", "dev", "eth0")
        parties[3].until("party [12]: closed")
        parties[3].until("server: open")
        for p in (1, 2):
            parties[3].until("party [12]: confirmed")
        assert len(lost) > 10, lost
        print("ALL WELL")
    finally:
        for one in started:
            one.popen.kill()
        for machine in machines.values():
            machine.life.kill()
'''


@pytest.mark.skipif(not _has_namespaces(), reason="this machine gives users no network namespaces")
def test_machines_with_slow_and_lossy_lines_link_directly_and_an_address_may_change() -> None:
    command = [
        "unshare", "-Urn", "--fork", "--kill-child", "--pid", "--mount-proc",
        sys.executable, "-c", textwrap.dedent(MACHINES),
    ]  # fmt: skip
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert "ALL WELL" in done.stdout, done.stdout + done.stderr


@pytest.fixture
def turn(tmp_path: Path) -> Iterator[IceServer]:
    port = free_port()
    with running(turn_server(tmp_path, port)):
        yield IceServer(f"turn:127.0.0.1:{port}?transport=udp", *TURN_LOGIN)


@pytest.mark.skipif(not shutil.which("turnserver"), reason="no TURN server: install coturn")
def test_parties_that_show_no_address_meet_by_a_turn_server(turn: IceServer) -> None:
    channels = ChannelSettings(ice_servers=(turn,), relay_only=True)
    with Lab(world="webrtc", parties=3, options={"channels": channels}) as lab:
        lab.start_server(0)
        lab.spawn()
        lab.join(timeout=60)
        lab.run(lambda: set(lab.state.links.values()) == {"open", "confirmed"}, limit=30)
        pairs = {pair: state for pair, state in lab.state.links.items() if 0 not in pair}
        assert set(pairs.values()) == {"confirmed"}, "a data channel, by TURN"
        op = lab.propose(by=1, kind="note", text="by way of another")
        lab.run(limit=20)
        assert op.status == "committed"
