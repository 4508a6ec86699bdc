"""Triage Node: head CTs in, suspected hemorrhage first on the reading list."""

import os
from importlib.metadata import PackageNotFoundError, version

# onnxruntime reports what it runs to its maker unless this is set before it is loaded: a node calls nobody it was not told of
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

try:
    __version__ = version("triage-node")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"
