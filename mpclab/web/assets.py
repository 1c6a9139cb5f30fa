"""The pages of a party in a tab, made ready: other people's runtime and libraries, our Python, the
page. `python -m mpclab.web.assets FOLDER` writes them into a folder that any static server serves.

npm packages and the wheel are pinned by hash (`packages`); names of packages in `import … from "…"`
become paths, since a page has no bundler; our Python goes into one zip, as bytecode that the same
Python made (`inside`), so that a tab compiles nothing.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

from mpclab.core.errors import UsageError
from mpclab.view.page import script, style
from mpclab.web import packages

WEB: Final = packages.WEB
STATIC: Final = WEB / "static"
PACKAGE: Final = Path(str(files("mpclab")))

ROOMS: Final = (
    "check", "consensus", "coordinator", "core", "crypto", "faults", "lab", "mpc", "operations",
    "signaling", "trace", "view", "web", "worlds",
)  # fmt: skip
"""Those that a party in a tab is made of."""
_ELSEWHERE: Final = (
    "crypto/backends/native.py", "crypto/backends/openssl.py", "web/assets.py", "web/packages.py",
    "web/inside.py", "web/pages.py", "worlds/real/",
)  # fmt: skip

KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".whl": "application/octet-stream",
    ".zip": "application/zip",
}
_MORE: Final = (
    "crypto/backends/tab.mjs", "web/inside.mjs", "web/inside.py", "web/package-lock.json",
    "web/requirements.txt",
)  # fmt: skip
_IMPORT: Final = re.compile(r"""((?:from|import)\s*\(?\s*)(["'])([^"']+)(["'])""")


def policy() -> str:
    """The Content-Security-Policy of the pages. WebAssembly has to be compiled, and a session's
    server may be another one than ours; nothing else comes from elsewhere, nothing is inline but
    the diagram's own style sheet."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
        f"style-src 'self' 'sha256-{digest}'; img-src 'self'; manifest-src 'self'; "
        "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def ready() -> Path:
    """The folder with everything, made when it is missing or something of it has changed."""
    name = hashlib.sha256()
    for path, content in _own():
        name.update(f"{path}\0{len(content)}\0".encode() + content)
    home = packages.cache() / f"pages-{name.hexdigest()[:16]}"
    if not home.exists():
        with packages.making(home) as folder:
            build(folder)
    return home


def _own() -> Iterator[tuple[str, bytes]]:
    """What of this package goes into the pages: names and contents."""
    for source in _sources():
        yield source.relative_to(PACKAGE).as_posix(), source.read_bytes()
    for file in sorted(STATIC.iterdir()):
        yield f"static/{file.name}", file.read_bytes()
    for more in _MORE:
        yield more, (PACKAGE / more).read_bytes()
    yield "assets", Path(__file__).read_bytes()
    yield "diagram", script().encode()


def _sources() -> Iterator[Path]:
    yield PACKAGE / "__init__.py"
    yield PACKAGE / "compiled.py"
    yield PACKAGE / "plugins.py"
    for room in ROOMS:
        for source in sorted((PACKAGE / room).rglob("*.py")):
            if not source.relative_to(PACKAGE).as_posix().startswith(_ELSEWHERE):
                yield source


def build(folder: Path) -> None:
    """Write the pages into an existing folder.

    Raises:
        UsageError: a registry cannot be reached, or is needed and npm is missing.
    """
    modules = packages.modules()
    for file in sorted(STATIC.iterdir()):
        shutil.copy(file, folder)
    shutil.copy(PACKAGE / "crypto" / "backends" / "tab.mjs", folder / "primitives.mjs")
    (folder / "diagram.js").write_text(script(), encoding="utf-8")
    runtime = folder / "pyodide"
    runtime.mkdir()
    for name in ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm"):
        shutil.copy(modules / "pyodide" / name, runtime)
    lock = json.loads((modules / "pyodide" / "pyodide-lock.json").read_bytes())
    lock["packages"] = {}  # what its own distribution has is nothing that we serve
    (runtime / "pyodide-lock.json").write_text(json.dumps(lock), encoding="utf-8")
    _copy_libraries(modules, folder)
    (folder / "qr").mkdir()
    for name in ("index.js", "decode.js"):
        code = _without_comments((modules / "qr" / name).read_text(encoding="utf-8"))
        (folder / "qr" / name).write_text(code, encoding="utf-8")
    (wheel,) = packages.wheels()
    shutil.copy(wheel, folder / "msgspec.whl")
    (folder / "mpclab.zip").write_bytes(_zip())
    _compile(modules, folder)
    _write_offline(folder)
    _pack(folder)


def _copy_libraries(modules: Path, folder: Path) -> None:
    """libsodium.js, and of noble what its two curves import."""
    sodium = "dist/modules-sumo-esm/libsodium"
    places = {
        "libsodium-sumo": (
            modules / f"libsodium-sumo/{sodium}-sumo.mjs", "libsodium-sumo.mjs"
        ),
        "libsodium-wrappers-sumo": (
            modules / f"libsodium-wrappers-sumo/{sodium}-wrappers.mjs", "libsodium-wrappers.mjs"
        ),
    }  # fmt: skip
    text = places["libsodium-wrappers-sumo"][0].read_text(encoding="utf-8")
    plain = text.replace('"libsodium-sumo"', '"./libsodium-sumo.mjs"')
    if plain == text:
        raise UsageError("libsodium-wrappers-sumo is built otherwise than we know it")
    (folder / places["libsodium-wrappers-sumo"][1]).write_text(plain, encoding="utf-8")
    shutil.copy(*(str(p) for p in (places["libsodium-sumo"][0], folder / "libsodium-sumo.mjs")))
    waiting = ["curves/secp256k1.js", "curves/ed25519.js"]
    done: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        code = _without_comments((modules / "@noble" / name).read_text(encoding="utf-8"))
        target = folder / "noble" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * name.count("/")

        def rewrite(found: re.Match[str], name: str = name, up: str = up) -> str:
            before, quote, what, after = found.groups()
            if what.startswith("@noble/"):
                waiting.append(what.removeprefix("@noble/"))
                return f"{before}{quote}{up}{what.removeprefix('@noble/')}{after}"
            if what.startswith("."):
                path = (Path(name).parent / what).as_posix()
                while re.search(r"[^/]+/\.\./", path):
                    path = re.sub(r"[^/]+/\.\./", "", path, count=1)
                waiting.append(path)
            return found[0]

        target.write_text(_IMPORT.sub(rewrite, code), encoding="utf-8")


def _without_comments(code: str) -> str:
    """Code without its block comments: they hold examples of imports. The licence's stays."""
    return re.sub(r"/\*\*(?!!).*?\*/", "", code, flags=re.DOTALL)


def _zip() -> bytes:
    """Our Python, the same bytes for the same sources."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:  # it travels gzipped
        for source in _sources():
            name = f"mpclab/{source.relative_to(PACKAGE).as_posix()}"
            archive.writestr(zipfile.ZipInfo(name), source.read_bytes())
    return written.getvalue()


def _write_offline(folder: Path) -> None:
    """Tell the service worker what there is, under a version of its own."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assets = ["./", *(f"./{name}" for name in names if name not in ("offline.js", "index.html"))]
    version = hashlib.sha256()
    for name in names:
        version.update((folder / name).read_bytes())
    text = (folder / "offline.js").read_text(encoding="utf-8")
    text = text.replace("@VERSION@", version.hexdigest()[:16])
    text = text.replace("@ASSETS@", json.dumps(assets))
    (folder / "offline.js").write_text(text, encoding="utf-8")


def _compile(modules: Path, folder: Path) -> None:
    """Replace our Python by its bytecode, and write the standard library likewise."""
    settings = {
        "modules": str(modules),
        "primitives": str(folder / "primitives.mjs"),
        "wheel": str(folder / "msgspec.whl"),
        "inside": str(WEB / "inside.py"),
        "library": str(modules / "pyodide" / "python_stdlib.zip"),
        "ours": str(folder / "mpclab.zip"),
    }
    with tempfile.TemporaryDirectory() as made:
        command = [*packages.node(), str(WEB / "inside.mjs")]
        packages.run([*command, json.dumps({**settings, "target": made})], folder)
        shutil.copy(Path(made) / "mpclab.zip", folder)
        shutil.copy(Path(made) / "python_stdlib.zip", folder / "pyodide")


_BROTLI: Final = """
const { brotliCompressSync, constants } = await import("node:zlib");
const { readFileSync, writeFileSync } = await import("node:fs");
const quality = { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_LGWIN]: 24 };
for (const name of process.argv.slice(1)) {
  writeFileSync(`${name}.br`, brotliCompressSync(readFileSync(name), { params: quality }));
}
"""


def _pack(folder: Path) -> None:
    """Beside each file that gains by it, its content gzipped and in Brotli. What was packed once is
    kept: the runtime is a few megabytes that rarely change, and take seconds."""
    known = packages.cache() / "packed-1"
    missing: dict[str, list[Path]] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = hashlib.sha256(file.read_bytes()).hexdigest()
        if not _take_packed(known, name, file):
            missing.setdefault(name, []).append(file)
    for name, same in list(missing.items()):
        packed = gzip.compress(same[0].read_bytes(), 9, mtime=0)
        same[0].with_name(f"{same[0].name}.gz").write_bytes(packed)
        if len(packed) >= 0.9 * same[0].stat().st_size:
            _keep(known, name, b"", b"")
            same[0].with_name(f"{same[0].name}.gz").unlink()
            del missing[name]
    names = [same[0].relative_to(folder).as_posix() for same in missing.values()]
    if names:
        packages.run([*packages.node(), "--input-type=module", "-e", _BROTLI, "--", *names], folder)
    for name, same in missing.items():
        gz, br = (same[0].with_name(f"{same[0].name}{end}").read_bytes() for end in _PACKED)
        _keep(known, name, gz, br)
        for other in same[1:]:
            _take_packed(known, name, other)


_PACKED: Final = (".gz", ".br")


def _take_packed(known: Path, name: str, file: Path) -> bool:
    """Put a file's packed contents beside it, if they are known; empty ones gain nothing."""
    if not (known / name).exists():
        return False
    for end in _PACKED:
        if content := (known / name / f"x{end}").read_bytes():
            file.with_name(f"{file.name}{end}").write_bytes(content)
    return True


def _keep(known: Path, name: str, gz: bytes, br: bytes) -> None:
    if not (known / name).exists():
        with packages.making(known / name) as made:
            for end, content in zip(_PACKED, (gz, br), strict=True):
                (made / f"x{end}").write_bytes(content)


def main() -> None:
    """Write the pages into the folder named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m mpclab.web.assets FOLDER")
    target = Path(sys.argv[1])
    try:
        shutil.copytree(ready(), target, dirs_exist_ok=True)
    except UsageError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
