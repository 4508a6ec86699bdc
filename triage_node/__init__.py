"""Triage Node: head CTs in, suspected hemorrhage first on the reading list."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("triage-node")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"
