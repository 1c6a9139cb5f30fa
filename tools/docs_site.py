"""A hook of mkdocs: the notebooks of the checkout are pages of the site, from where they are."""

from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

CHECKOUT = Path(__file__).resolve().parent.parent


@event_priority(100)
def on_files(files: Files, config: Any) -> Files:
    """Before mkdocs-jupyter looks for notebooks."""
    for path in sorted(CHECKOUT.glob("notebooks/*.ipynb")):
        name = path.relative_to(CHECKOUT).as_posix()
        files.append(
            File(name, str(CHECKOUT), config.site_dir, use_directory_urls=config.use_directory_urls)
        )
    return files
