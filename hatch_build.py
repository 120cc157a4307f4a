"""What a build adds: the code generated from the protobuf file, and in a wheel the files beside the packages."""

import os
import tempfile
from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_BUNDLED = ("prompts", "migrations", "alembic.ini", "config.yaml")
_PROTO = "executor/proto/decision.proto"
_GENERATED = ("executor/proto/decision_pb2.py", "executor/proto/decision_pb2_grpc.py")


class BundleHook(BuildHookInterface[Any]):
    """Generate code for any build, and add the bundled files to a real wheel; an editable one reads the checkout's."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate, let the ignored files into the wheel, and map each bundled path to its place unless editable."""
        generate(Path(self.root))
        build_data["artifacts"].extend(f"/{name}" for name in _GENERATED)
        if version != "editable":
            build_data["force_include"].update({name: f"manager/_data/{name}" for name in _BUNDLED})


def generate(root: Path) -> None:
    """Write the modules of the protobuf file below `root`, each at once, so that nobody imports half of one."""
    with tempfile.TemporaryDirectory(dir=root / "executor" / "proto", prefix=".generated-") as folder:
        arguments = [
            f"--proto_path={root}",
            f"--python_out={folder}",
            f"--grpc_python_out={folder}",
            str(root / _PROTO),
        ]
        if protoc.main(["protoc", *arguments]):
            raise RuntimeError(f"{_PROTO} could not be compiled; correct what protoc says above")
        for name in _GENERATED:
            os.replace(Path(folder) / name, root / name)


if __name__ == "__main__":
    generate(Path(__file__).resolve().parent)
