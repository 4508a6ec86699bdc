"""A modality and an archive that announce, on pynetdicom, and the gateway that listens to them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import InstanceAvailabilityNotification, ModalityPerformedProcedureStep

from tests.support.deciding import Site
from tests.support.pacs import free_port
from tests.support.waiting import wait_until
from triage_node.config.gateway import AnnouncementSettings
from triage_node.processes import gateway
from triage_node.processes.running import Running

CT = "1.2.840.10008.5.1.4.1.1.2"
Images = Mapping[str, Iterable[str]]
"""Series -> SOP Instance UIDs."""


@contextmanager
def listening(site: Site) -> Iterator[int]:
    """The gateway role, which listens for nothing else. Yields its port."""
    settings = site.settings.model_copy(update={"announcements": AnnouncementSettings(port=free_port())})
    stop = threading.Event()
    role = threading.Thread(target=gateway.main, args=[Running("gateway", settings, site.store, stop)], daemon=True)
    role.start()
    try:
        wait_until(lambda: answers(settings.announcements.port), 60, "the gateway to answer")
        yield settings.announcements.port
    finally:
        stop.set()
        role.join(60)
        assert not role.is_alive()


def answers(port: int) -> bool:
    """Whether somebody takes MPPS and IAN there."""
    announcer = Announcer(port)
    announcer.close()
    return bool(announcer.association.is_released)


class Announcer:
    """One association for MPPS and IAN; a context manager."""

    def __init__(self, port: int, ae_title: str = "CT1") -> None:
        ae = AE(ae_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
        for uid in (ModalityPerformedProcedureStep, InstanceAvailabilityNotification):
            ae.add_requested_context(uid, ExplicitVRLittleEndian)
        self.association = ae.associate("127.0.0.1", port)

    def __enter__(self) -> Announcer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.association.is_established:
            self.association.release()

    def begin(self, uid: str, *studies: str, **more: Any) -> int:
        return self.create(ModalityPerformedProcedureStep, uid, step(*studies, **more))

    def change(self, uid: str, data: Dataset) -> Dataset:
        answer, _ = self.association.send_n_set(data, ModalityPerformedProcedureStep, uid)
        return answer

    def complete(self, uid: str, images: Images, state: str = "COMPLETED") -> Dataset:
        return self.change(uid, performed(images, state))

    def notify(self, uid: str, study: str, images: Images, **availability: str) -> int:
        return self.create(InstanceAvailabilityNotification, uid, notification(study, images, **availability))

    def create(self, sop_class: str, uid: str | None, data: Dataset) -> int:
        answer, _ = self.association.send_n_create(data, sop_class, uid)
        return int(answer.Status)


def step(*studies: str, **more: Any) -> Dataset:
    """What a modality sends when it begins (PS3.4 table F.7.2-1)."""
    return _of(
        {
            "SpecificCharacterSet": "ISO_IR 100",
            "PatientName": "Müller^Zoë",
            "PatientID": "P77",
            "ScheduledStepAttributesSequence": [{"StudyInstanceUID": s, "AccessionNumber": "A1"} for s in studies],
            "PerformedProcedureStepID": "S1",
            "PerformedStationAETitle": "CT1",
            "PerformedProcedureStepStartDate": "20261121",
            "PerformedProcedureStepStartTime": "030000",
            "PerformedProcedureStepStatus": "IN PROGRESS",
            "Modality": "CT",
            "PerformedSeriesSequence": [],
        }
        | more
    )


def performed(images: Images, state: str | None = None, sop_class: str = CT) -> Dataset:
    """What it sends afterwards."""
    series = [
        {
            "SeriesInstanceUID": uid,
            "ProtocolName": "Head",
            "ReferencedImageSequence": [_reference(i, sop_class) for i in named],
            "ReferencedNonImageCompositeSOPInstanceSequence": [],
        }
        for uid, named in images.items()
    ]
    return _of({"PerformedSeriesSequence": series} | ({"PerformedProcedureStepStatus": state} if state else {}))


def notification(study: str, images: Images, availability: str = "ONLINE") -> Dataset:
    """What an archive sends (PS3.4 table R.3.2-1)."""
    available = {"InstanceAvailability": availability, "RetrieveAETitle": "PACS"}
    series = [
        {"SeriesInstanceUID": uid, "ReferencedSOPSequence": [_reference(i, CT) | available for i in named]}
        for uid, named in images.items()
    ]
    return _of(
        {"StudyInstanceUID": study, "ReferencedSeriesSequence": series, "ReferencedPerformedProcedureStepSequence": []}
    )


def _reference(uid: str, sop_class: str) -> dict[str, str]:
    return {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": uid}


def _of(values: Mapping[str, Any]) -> Dataset:
    """None: the attribute is left out."""
    found = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(found, keyword, Sequence([_of(v) for v in value]) if isinstance(value, list) else value)
    return found
