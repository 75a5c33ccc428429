"""Make editable installs work although the sources live in four top-level folders.

A wheel gets the folders mapped into one import package by `sources` in pyproject.toml. An
editable install cannot map paths, so it puts `src` on the import path and this hook links the
folders there:

    src/tilewright/__init__.py
    src/tilewright/compiler -> ../../compiler        (ignored by git, left out of the sdist)
"""

from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("compiler", "dialects", "passes", "backends")


class LinkFolders(BuildHookInterface[BuilderConfig]):
    """Links the source folders into `src/tilewright` when the install is editable."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Create the links, or renew them if they point elsewhere."""
        if version != "editable":
            return
        for folder in FOLDERS:
            link = Path(self.root, "src", "tilewright", folder)
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..", "..", folder), target_is_directory=True)
