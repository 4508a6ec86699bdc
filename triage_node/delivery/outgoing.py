"""A stored file on its way out: checked for being the object that it should be, its data set never decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID

from triage_node.delivery.retry import Outcome, Verdict


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One file of the outbox."""

    sop_instance_uid: str
    sop_class_uid: str
    path: Path


GONE = Outcome(Verdict.NEVER, "our own file is gone")


def transfer_syntax(o: Outgoing) -> UID | Outcome:
    """How the file is encoded, or why it cannot be sent. A file that is damaged or another object never goes out."""
    try:
        meta = read_file_meta_info(o.path)
    except FileNotFoundError:
        return GONE
    except OSError as error:
        return Outcome(Verdict.AGAIN, f"our own file cannot be read: {error.strerror or error}")
    except (InvalidDicomError, AttributeError, ValueError, KeyError, EOFError) as error:
        return Outcome(Verdict.NEVER, f"our own file is damaged: {type(error).__name__}")
    held = (str(meta.get("MediaStorageSOPInstanceUID", "")), str(meta.get("MediaStorageSOPClassUID", "")))
    if held != (o.sop_instance_uid, o.sop_class_uid) or not meta.get("TransferSyntaxUID"):
        return Outcome(Verdict.NEVER, "our own file is damaged: it does not hold this object")
    return UID(str(meta.TransferSyntaxUID))
