"""Labelled head CTs from the layouts in which data sets come. `open_data_set(folder)` recognises which."""

from triage_node.datasets.data_set import DataSet
from triage_node.datasets.recognise import open_data_set

__all__ = ["DataSet", "open_data_set"]
