"""What a replay starts from and is compared with: known without a decoder or a model, so that the web role can ask."""

from __future__ import annotations

from collections.abc import Sequence

from triage_node.blobs.opened import open_blobs
from triage_node.config.schema import ModelSettings, Settings
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.study import StudyState
from triage_node.domain.trial import Reading
from triage_node.store.results import ResultRecord


def bundles(model: ModelSettings) -> tuple[str, ...]:
    """The models that the configuration names, the one that acts first."""
    return tuple(dict.fromkeys(b for b in (model.bundle, model.shadow_bundle, *model.replay_bundles) if b))


def why_not(settings: Settings, state: StudyState, held: Sequence[ReceivedInstance]) -> str:
    """Why a study cannot be judged again, empty when it can."""
    if state is StudyState.QUARANTINED:
        return "This study is in quarantine: it is not clear whose images they are, so nothing is read again."
    if not held:
        return "This study holds no image that could be read again."
    received = open_blobs(settings.store).received
    if not all(received.has(i.sha256) for i in held):
        return (
            f"The images are gone: received pixels are kept {settings.store.source_days:g} days after delivery "
            "(store.source_days). Send the study again from the archive to replay it."
        )
    return ""


def as_stored(record: ResultRecord) -> Reading:
    """A result as it was stored, to compare with."""
    detail = record.detail
    return Reading(
        bundle_name=record.bundle_name,
        bundle_version=record.bundle_version,
        bundle_digest=record.bundle_digest,
        policy_version=record.policy_version,
        input_digest=record.input_digest,
        answer="raised" if record.flagged else "not sure" if detail.get("unsure") else "not raised",
        finding=str(detail.get("finding", "ich")),
        probability=float(detail.get("decided_probability", record.probability)),
        raise_probability=float(detail.get("raise_probability", 0.0)),
        notify_probability=float(detail.get("notify_probability", 0.0)),
        hematoma_volume_ml=record.hematoma_volume_ml,
        key_slice_index=int(detail.get("key_slice_index", 0)),
        subtypes=tuple(detail.get("subtypes", ())),
        locations=tuple(detail.get("locations", ())),
        evidence=str(detail.get("evidence", "")),
    )
