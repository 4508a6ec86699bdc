"""What analysis leaves behind for the study page: the slices of every volume that it assembled.

Beside the way to the flag: it is written after the decision is committed, and a failure costs the picture, never the study.
"""

from __future__ import annotations

import logging
from pathlib import Path

from triage_node.domain.finding import Detection
from triage_node.domain.volume import Volume
from triage_node.report import display

log = logging.getLogger(__name__)


def keep(
    built_folder: Path, study_instance_uid: str, volume: Volume, detection: Detection | None, revision: int
) -> None:
    """Put the slices of a study where the page finds them, in place of earlier ones. `revision` 0: nothing was detected."""
    path = display.path_of(built_folder, study_instance_uid)
    try:
        display.write(path, volume, detection, revision)
    except OSError as error:
        log.warning("event=no_slices study=%s %s", study_instance_uid, error.strerror)
        path.unlink(missing_ok=True)  # what lies there belongs to an earlier result


def forget(built_folder: Path, study_instance_uid: str) -> None:
    """Remove the slices of a study; nothing happens where there are none."""
    display.path_of(built_folder, study_instance_uid).unlink(missing_ok=True)
