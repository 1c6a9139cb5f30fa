"""What we ship for operators: the Dockerfile's steps, compose, systemd, nginx, and the document
whose commands are run."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from argparse import ArgumentParser
from pathlib import Path

import pytest
import yaml

from mpclab.cli.server_options import add_options, resolve
from tests.services import free_port, redis_server, running

CHECKOUT = Path(__file__).parents[1]
DEPLOY = CHECKOUT / "deploy"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, without comments, continued lines joined."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def options(*arguments: str) -> ArgumentParser:
    parser = ArgumentParser()
    add_options(parser)
    args = parser.parse_args(arguments)
    resolve(args, {})
    return args


def test_the_dockerfile_keeps_to_the_rules() -> None:
    steps = instructions()
    words = [word for word, _ in steps]
    known = {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "STOPSIGNAL",
             "HEALTHCHECK", "ENTRYPOINT", "CMD"}  # fmt: skip
    assert set(words) <= known
    assert words[0] == "FROM"
    assert ":" in steps[0][1], "a version, not whatever is newest"
    assert words.count("ENTRYPOINT") == words.count("CMD") == words.count("HEALTHCHECK") == 1
    last_user = [rest for word, rest in steps if word == "USER"][-1]
    assert last_user not in ("root", "0")
    assert words.index("USER") > max(i for i, w in enumerate(words) if w in ("COPY", "RUN"))
    for word, rest in steps:
        if word == "COPY":
            *sources, _ = rest.split()
            assert all((CHECKOUT / source).exists() for source in sources), rest
        if word in ("ENTRYPOINT", "CMD"):
            assert isinstance(yaml.safe_load(rest), list), "as a list: no shell between us and TERM"
        assert "curl" not in rest
        assert "apt" not in rest


def test_the_dockerfiles_steps_make_a_server_that_is_well(tmp_path: Path) -> None:
    """As a container would, in an environment with nothing else; uv stands for pip."""
    source, place = tmp_path / "src", tmp_path / "venv"
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python"]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / "bin" / "python"
    for word, rest in instructions():
        if word == "COPY":
            *sources, _ = rest.split()
            for name in sources:
                target = source / name
                target.parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copy
                copy(CHECKOUT / name, target)
        if word == "RUN" and "pip" in rest:
            lock = tmp_path / "server.lock"
            script = rest.partition(" && rm ")[0].replace("/tmp/server.lock", str(lock))
            script = script.replace("pip install", shlex.join([*uv, str(python)]))
            script = re.sub(r"^python ", f"{python} ", script)
            subprocess.run(["sh", "-ec", script], cwd=source, check=True)
    steps = dict(instructions())
    command = [*yaml.safe_load(steps["ENTRYPOINT"]), *yaml.safe_load(steps["CMD"])]
    port = free_port()
    command = [str(place / "bin" / command[0]), *command[1:], "--port", str(port), "--metrics"]
    environment = {"PATH": "/usr/bin:/bin", "MPCLAB_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            assert next(line for line in server.stdout if "serving" in line)
            check = yaml.safe_load(steps["HEALTHCHECK"].partition("CMD")[2])
            code = check[2].replace(":8080", f":{port}")
            subprocess.run([str(python), "-c", code], check=True, timeout=30)
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0


def test_compose_names_what_there_is() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    for name in ("server-1", "server-2"):
        args = options(*services[name]["command"])
        assert args.redis.startswith("redis://redis:")
        assert args.metrics
        assert services[name]["read_only"]
        assert services[name]["cap_drop"] == ["ALL"]
        assert "ports" not in services[name], "reached by the proxy alone"
    assert "ports" not in services["redis"]
    template = (DEPLOY / "nginx.conf.template").read_text()
    wanted = set(re.findall(r"\$\{([A-Z_]+)\}", template))
    proxy = services["proxy"]
    assert wanted == set(proxy["environment"])
    assert services["server-1"]["command"].count(
        f"--proxy-trust={proxy['networks']['inside']['ipv4_address']}"
    )
    for service in services.values():
        assert set(service.get("depends_on", [])) <= set(services)
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (DEPLOY / volume.split(":")[0]).exists()


def test_the_systemd_unit_is_right_and_has_next_to_no_rights(tmp_path: Path) -> None:
    text = (DEPLOY / "mpclab.service").read_text()
    unit = tmp_path / "mpclab.service"
    unit.write_text(text.replace("/opt/mpclab/bin/mpclab", sys.executable))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    exposure = re.search(r"exposure level for mpclab.service: ([\d.]+)", judged.stdout)
    assert exposure is not None, judged.stdout + judged.stderr
    assert float(exposure[1]) < 2
    args = options("--config", str(DEPLOY / "server.toml"))
    assert args.metrics
    assert str(args.admin).startswith("/var/lib/mpclab/")


def test_prometheus_accepts_its_file() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", str(DEPLOY / "prometheus.yml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder to work in, with `mpclab` on the path and a home of its own."""
    environment = {
        **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MPCLAB_HOME": str(tmp_path / "home"), "no_proxy": "*",
    }  # fmt: skip
    return tmp_path, environment


def test_the_commands_of_the_document_work(shop: tuple[Path, dict[str, str]]) -> None:
    folder, environment = shop
    text = (CHECKOUT / "docs" / "running-a-server.md").read_text()
    commands = [
        line.removeprefix("$ ")
        for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(commands) >= 12
    first, second, redis = free_port(), free_port(), free_port()
    servers: list[subprocess.Popen[str]] = []
    ran = 0
    with running(redis_server(folder, redis)):
        try:
            for command in commands:
                if command.startswith("pip install"):
                    continue  # this very package
                port = second if "--workers" in command else first
                command = command.replace("8080", str(port)).replace("6379", str(redis))
                if command.startswith("mpclab serve ") and "--show-config" not in command:
                    server = subprocess.Popen(
                        shlex.split(command), cwd=folder, env=environment, text=True,
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    )  # fmt: skip
                    servers.append(server)
                    assert server.stdout is not None
                    said = []
                    for line in server.stdout:
                        said.append(line)
                        if "signaling server at" in line:
                            break
                    else:
                        raise AssertionError(f"{command}\n{''.join(said)}")
                else:
                    done = subprocess.run(
                        shlex.split(command), cwd=folder, env=environment, text=True,
                        capture_output=True, timeout=60, check=False,
                    )  # fmt: skip
                    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
                ran += 1
            with urllib.request.urlopen(f"http://127.0.0.1:{second}/healthz", timeout=20) as well:
                assert well.status == 200
        finally:
            for server in servers:
                server.send_signal(signal.SIGTERM)
            for server in servers:
                with server:
                    assert server.wait(30) == 0
    assert ran == len(commands) - 1
