"""The RIS and the reader of a site on several hosts. Both know the balancer only, and try again."""

from __future__ import annotations

import itertools
from datetime import timedelta

import httpx
import pydicom

from tests.hosts.cluster import HL7_PORT, PAGE_PORT, Cluster
from tests.journeys.modality import Sent
from triage_node.domain.account import Scope
from triage_node.domain.person import Role
from triage_node.hl7v2.mllp import MllpClient
from triage_node.processes.running import now
from triage_node.store import api_tokens

_numbers = itertools.count(1)
PATIENCE_S = 5.0


def order_until_accepted(site: Cluster, study: Sent) -> None:
    """A STAT order for a study, the same message until it is acknowledged."""
    ds = pydicom.dcmread(study.files[0], stop_before_pixels=True)
    head = f"MSH|^~\\&|HIS|WARD|TRIAGE||20261121030000||ORM^O01|H{next(_numbers)}|P|2.5.1||||||UNICODE UTF-8"
    patient = f"PID|1||{ds.PatientID}||{ds.PatientName}||{ds.PatientBirthDate}|{ds.PatientSex}"
    message = "\r".join((head, patient, "ORC|NW", "TQ1|1||||||||S", f"OBR|1||{ds.AccessionNumber}", "")).encode()
    ris = MllpClient(site.on.host("balancer").address, HL7_PORT, PATIENCE_S)

    def accepted() -> bool:
        try:
            return b"MSA|AA" in ris.exchange(message, lambda answer: True)
        except OSError:
            return False

    site.wait(accepted, 60, "an order is accepted")


def page_list(site: Cluster) -> list[str]:
    """The studies on the page's list, in its order; empty when it does not answer."""
    if not site.token:
        name, roles, scopes = f"reader{next(_numbers)}", frozenset({Role.RADIOLOGIST}), frozenset({Scope.READ})
        site.token = api_tokens.add(site.store, now() - timedelta(seconds=5), "test", name, roles, scopes, 1)
    url = f"http://{site.on.host('balancer').address}:{PAGE_PORT}/api/worklist"
    try:
        answer = httpx.get(url, headers={"Authorization": f"Bearer {site.token}"}, timeout=PATIENCE_S, trust_env=False)
    except httpx.HTTPError:
        return []
    return [row["study_instance_uid"] for row in answer.json()["rows"]] if answer.is_success else []
