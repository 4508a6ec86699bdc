"""From the store to the page of one study. Every number keeps the model, version, operating point and evidence level."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from triage_node.blobs.places import Shelf
from triage_node.console.deps import About, Delivery, Output, StudyDetails
from triage_node.domain.delivery import ObjectKind, OutboxRow
from triage_node.domain.errors import BlobError
from triage_node.domain.finding import FINDINGS, LOCATION_OUTPUT, VOLUME_OUTPUT, EvidenceLevel, OperatingPoint
from triage_node.domain.prognosis import Prediction
from triage_node.domain.study import IdentityCorrection, StudyState
from triage_node.processes.clinical import statements
from triage_node.processes.corrections import to_correct
from triage_node.processes.decision import shows_flag
from triage_node.processes.listing import study_label
from triage_node.processes.told import told_peers
from triage_node.report.sr_text import sr_as_text
from triage_node.store import evaluations, messages, outbox, prognosis, results, studies, worklist
from triage_node.store.engine import Store
from triage_node.store.prognosis import PrognosisRecord
from triage_node.worklist.wording import likelihood, percent

log = logging.getLogger(__name__)

_OF_THE_ORDER = {"accession_number"}
"""Fields of an identity that say nothing of the patient."""


def study_details(store: Store, objects_built: Shelf, uid: str, shows_names: bool) -> StudyDetails | None:
    """Everything about one study, None when the store does not know it."""
    study = studies.get(store, uid)
    if study is None:
        return None
    listed = next((item for item in worklist.rows(store) if item.row.study_instance_uid == uid), None)
    kept = worklist.row_of(store, uid)  # also when it has left: only a flag would keep it in sight
    record = results.latest(store, uid)
    if record is not None and record.detail.get("apart") and shows_flag(listed):
        # what readers see was found in a scan that they may be told of; the later one stands in the audit trail
        record = next((r for r in results.revisions(store, uid) if not r.detail.get("apart")), record)
    made = prognosis.latest(store, uid, record.revision) if record is not None else None
    label, rest = study_label(study.identity, study.description, shows_names)
    stated = statements(store, study)
    corrections = studies.identity_corrections(store, uid)
    objects = results.objects_of(store, uid)
    reports = [o for o in objects if o.kind in (ObjectKind.FINDINGS_SR, ObjectKind.NOT_FLAGGED_SR)]
    report_file = object_file(store, objects_built, reports[-1].sop_instance_uid) if reports else None
    sent: dict[str, list[OutboxRow]] = {}
    for row in outbox.of_study(store, uid):
        sent.setdefault(row.sop_instance_uid, []).append(row)
    return StudyDetails(
        study_instance_uid=uid,
        about=About(
            label,
            rest,
            study.state,
            kept.live_words if kept else "",
            study.revision,
            study.calling_ae_title,
            study.identity.accession_number,
            study.identity.patient_id,
        ),
        reason=study.reason,
        arrived_at=study.arrived_at,
        instances=study.instances,
        close_signal=study.close_signal + (", incomplete" if study.incomplete else ""),
        row=listed.row if listed else None,
        was_flagged=record is not None and record.flagged,
        result_words=_result_words(record, listed),
        outputs=_outputs(record, _is_calibrated(store, record)),
        predictions=() if _is_of_another(study, made, corrections) else _predictions(record, made),
        selection=study.selection,
        objects=tuple((o, tuple(_delivery(row) for row in sent.get(o.sop_instance_uid, []))) for o in objects),
        sr_text=_sr_text(report_file),
        statements=stated,
        prognosis_behind=bool(
            record is not None and record.flagged and stated and (made is None or made.clinical_revision < len(stated))
        ),
        apart=str(record.detail.get("apart") or "") if record is not None else "",
        told=told_peers(messages.of_study(store, uid)),
        to_correct=to_correct(store, uid, shows_names),
        facts_wanted=study.state is not StudyState.QUARANTINED,
    )


def object_file(store: Store, objects_built: Shelf, sop_instance_uid: str) -> Path | None:
    """The file of an object that this node built, None when it is not ours or cannot be had."""
    built = results.object_by_uid(store, sop_instance_uid)
    if built is None:
        return None
    try:
        file = objects_built.path(built.sha256)
    except BlobError as error:
        log.warning("object=%s cannot be shown: %s", sop_instance_uid, error)
        return None
    return file if file.is_file() else None


def _sr_text(file: Path | None) -> str:
    try:
        return sr_as_text(dcmread(file)) if file is not None else ""
    except (OSError, InvalidDicomError):
        return ""


def _delivery(row: OutboxRow) -> Delivery:
    tries = f"{row.tries} {'try' if row.tries == 1 else 'tries'}" if row.tries > 1 else ""
    return Delivery(row.peer, row.state.value, ", ".join(part for part in (row.reason, tries) if part))


def _is_calibrated(store: Store, record: results.ResultRecord | None) -> bool:
    return record is not None and evaluations.is_calibrated(store, record.bundle_digest, "ich")


def _result_words(record: results.ResultRecord | None, listed: worklist.ListedStudy | None) -> str:
    if record is None:
        return ""
    if listed is not None and listed.row.flag is not None:
        return listed.row.flag.words
    if record.flagged:
        return "Was flagged; a person disagreed" if listed is not None else "Was flagged, and has left the list"
    if record.detail.get("unsure"):
        return "Not sure: neither raised nor passed"
    return "Nothing was raised. That is no statement that there is no bleed."


def _outputs(record: results.ResultRecord | None, calibrated: bool) -> tuple[Output, ...]:
    if record is None:
        return ()
    detail = record.detail
    # what nothing is stated of counts as simulated only
    levels: dict[str, str] = {
        "ich": str(detail.get("evidence") or EvidenceLevel.E0.value),
        **(detail.get("levels") or {}),
    }
    model = f"{record.bundle_name} {record.bundle_version} ({record.bundle_digest[:8]}), {record.runtime}"
    raise_at, notify_at = detail.get("raise_probability"), detail.get("notify_probability")
    point, words = f"policy {record.policy_version}", "raised" if record.flagged else "not raised"
    decided_by = detail.get("decided_by", "ich")
    if isinstance(raise_at, float) and isinstance(notify_at, float):
        unsure_from = detail.get("unsure_from")
        in_force = OperatingPoint(decided_by, raise_at, notify_at, record.policy_version, unsure_from)
        probability = float(detail.get("decided_probability", record.probability))
        words = likelihood(probability, in_force)
        if calibrated and decided_by == "ich":
            words = f"{words}, {percent(probability)}"
        point = f"{f'not sure {unsure_from:.3f}, ' if unsure_from is not None else ''}raise {raise_at:.3f}, notify {notify_at:.3f}, policy {record.policy_version}"
    found = [Output(FINDINGS[decided_by].name.capitalize(), words, model, point, _level(levels, decided_by))]
    if math.isfinite(record.hematoma_volume_ml) and record.hematoma_volume_ml > 0 and record.flagged:
        ml = f"{record.hematoma_volume_ml:.1f} mL"
        found.append(Output("Volume", ml, model, "measured on the mask", _level(levels, VOLUME_OUTPUT)))
    if record.flagged:
        for component in detail.get("components") or ():
            name = FINDINGS[component["subtype"]].name.capitalize() if component.get("subtype") in FINDINGS else "Bleed"
            value = f"{float(component['volume_ml']):.1f} mL, {component['location']}"
            told = (str(component.get("subtype") or "ich"), VOLUME_OUTPUT, LOCATION_OUTPUT)
            # the line is worth as much as the weakest of what it says
            found.append(Output(name, value, model, "component of the mask", min(_level(levels, o) for o in told)))
    return tuple(found)


def _level(levels: dict[str, str], output: str) -> str:
    level = EvidenceLevel(levels.get(output, EvidenceLevel.E0.value))
    return f"{level.value}: {level.in_words}"


def _is_of_another(
    study: studies.StudyRecord, made: PrognosisRecord | None, corrections: list[IdentityCorrection]
) -> bool:
    """Whether it is not clear that what was made is about the patient whom the study belongs to now."""
    if study.state is StudyState.QUARANTINED:
        return True
    return made is not None and any(c.at > made.at and set(c.changed) - _OF_THE_ORDER for c in corrections)


def _predictions(record: results.ResultRecord | None, made: PrognosisRecord | None) -> tuple[Prediction, ...]:
    if record is None:
        return ()
    # what the first release stored beside the result
    return made.predictions if made is not None else prognosis.predictions_of(record.detail.get("predictions") or ())
