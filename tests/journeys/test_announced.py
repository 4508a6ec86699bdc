"""A modality says that its series is whole: the node does not wait for quiet, nor for the association to end."""

from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from tests.journeys import modality
from tests.support.announcing import Announcer, answers
from tests.support.node import AE_TITLE, SETTLED, node
from tests.support.pacs import free_port
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
QUIET_S = 600
"""Longer than the test: what closes the study is not the time."""


def test_completed_step_closes_the_study_while_its_association_is_open(tmp_path: Path) -> None:
    sent = modality.ge()
    slices = [pydicom.dcmread(f) for f in sent.files]
    listener = {"senders": [{"ae_title": "*", "quiet_s": QUIET_S}]}
    port = free_port()
    late = {"deadline_s": QUIET_S}
    with node(tmp_path / "node", listener=listener, completeness=late, announcements={"port": port}) as running:
        scanner = AE("CT1")
        scanner.acse_timeout = scanner.dimse_timeout = scanner.network_timeout = 60
        scanner.add_requested_context(CTImageStorage, slices[0].file_meta.TransferSyntaxUID)
        association = scanner.associate("127.0.0.1", running.dicom_port, ae_title=AE_TITLE)
        wait_until(lambda: answers(port), 60, "the gateway to answer")
        with Announcer(port) as announcer:
            assert announcer.begin("2.25.9", sent.uid) == 0x0000
            for one in slices:
                assert association.send_c_store(one).Status == 0x0000
            images = {slices[0].SeriesInstanceUID: [s.SOPInstanceUID for s in slices]}
            assert announcer.complete("2.25.9", images).Status == 0x0000
        running.wait_for_state(sent.uid, SETTLED | {"complete", "analysing", "reported"}, 120)
        closed = [e["detail"] for e in running.timeline(sent.uid) if e["moment"] == "complete"]
        assert closed == ["MPPS COMPLETED"]
        association.release()
