from datetime import timedelta

from tests.store.conftest import NOW
from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.store import instances, studies


def test_studies_of_one_patient_id_come_newest_first_and_no_more_than_asked(store):
    for k, patient_id in enumerate(("P1", "P1' OR 1=1", "P1", "", "P1")):
        header = InstanceHeader(f"1.{k}.1", "1.2.840.10008.5.1.4.1.1.2", f"1.{k}", f"1.{k}.2", patient_id=patient_id)
        at = NOW + timedelta(minutes=k)
        received = ReceivedInstance(
            str(k) * 64, 1, header.sop_instance_uid, header.sop_class_uid, "1.2.840.10008.1.2.1", at, header
        )
        instances.record_batch(store, [received])
    assert [s.study_instance_uid for s in studies.of_patient(store, "P1", 2)] == ["1.4", "1.2"]
    assert [s.study_instance_uid for s in studies.of_patient(store, "P1' OR 1=1", 9)] == ["1.1"]
