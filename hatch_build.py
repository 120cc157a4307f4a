"""Put the files that live beside the packages into the wheel, under `manager/_data`."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_BUNDLED = ("prompts", "migrations", "alembic.ini", "config.yaml")


class BundleHook(BuildHookInterface[Any]):
    """Add the bundled files to a real wheel; an editable install reads them from the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Map each bundled path to its place in the wheel, unless `version` is an editable one."""
        if version != "editable":
            build_data["force_include"].update({name: f"manager/_data/{name}" for name in _BUNDLED})
