"""Recorded real data beside the repository; tests that need it skip where it is not."""

import os
from pathlib import Path

import pytest

VARIABLE = "PROPDESK_SHARED_DATA"
_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"


def shared_file(*parts: str) -> Path:
    """Return a recorded file; skip the test, saying what is missing, when it is not there."""
    root = Path(os.environ.get(VARIABLE, _BESIDE))
    path = root.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"{path} is not there; set {VARIABLE} to the folder with the recorded data")
    return path
