"""A file that nobody sent: read for its header only, by the way of those that are sent. Nothing of it is kept."""

from __future__ import annotations

import hashlib
import mmap
from datetime import UTC, datetime
from pathlib import Path

from triage_node.domain.instance import ReceivedInstance
from triage_node.instances import header, part10
from triage_node.instances.elements import Unreadable
from triage_node.instances.intake import check_identity, read_values


def read_loose(path: Path) -> ReceivedInstance:
    """What the listener would make of these bytes. Raises: InstanceRefused, with a reason without names; OSError."""
    with path.open("rb") as file:
        size = path.stat().st_size
        if not size:
            raise Unreadable("an empty file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            meta = part10.read_any_head(data)
            values = read_values(data, meta.data_set_at, size, meta.transfer_syntax_uid)
            check_identity(values, meta.sop_class_uid, meta.sop_instance_uid)
            sha256 = hashlib.sha256(data).hexdigest()
    return ReceivedInstance(
        sha256=sha256,
        size_bytes=size,
        sop_instance_uid=meta.sop_instance_uid,
        sop_class_uid=meta.sop_class_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        received_at=datetime.now(UTC),
        header=header.header_from(values, meta.transfer_syntax_uid),
    )
