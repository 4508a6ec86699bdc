"""Objects of a result: which are wanted where, building them, keeping them, queueing them (DESIGN.md invariant 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triage_node import __version__
from triage_node.blobs.opened import open_blobs
from triage_node.blobs.places import Blobs
from triage_node.config.schema import ArchiveSettings, Settings
from triage_node.delivery.gate import Destination, may_send
from triage_node.detection.operating_point import worded
from triage_node.domain.delivery import BuiltObject, ObjectKind, OutboxState
from triage_node.domain.finding import BundleIdentity, Detection, EvidenceLevel, FindingDecision
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.priority import Flag, Mode
from triage_node.domain.prognosis import Prediction
from triage_node.domain.rejection import RejectionReason
from triage_node.domain.study import StudyIdentity
from triage_node.domain.volume import Volume
from triage_node.processes import identity
from triage_node.processes import rejections as iocm
from triage_node.processes.running import now
from triage_node.processes.wiring import is_loopback, least_level
from triage_node.report.build import build_objects
from triage_node.report.rejection_note import Rejection, RejectionRequest, build_rejection_note
from triage_node.report.request import BuiltFile, NodeIdentity, ReportRequest, ResultIdentity
from triage_node.store import outbox, rejections, results, studies
from triage_node.store.engine import Connection, Store

NOT_ANALYSED = frozenset({ObjectKind.NOT_ANALYSED_SC, ObjectKind.NOT_ANALYSED_SR})
NOT_FLAGGED = frozenset({ObjectKind.NOT_FLAGGED_SR})
_HELD_THERE = frozenset({OutboxState.SENT, OutboxState.DELIVERED, OutboxState.COMMITTED})
_OTHER_VOLUME = 0.2
FLAGGED = frozenset(ObjectKind) - NOT_ANALYSED - NOT_FLAGGED - {ObjectKind.REJECTION_NOTE}


@dataclass(frozen=True, slots=True)
class Reporter:
    """Knows where objects may go and keeps what it built."""

    store: Store
    settings: Settings
    bundle: BundleIdentity
    simulation: bool
    mode: Mode

    def wanted(self, kinds: frozenset[ObjectKind]) -> dict[str, frozenset[ObjectKind]]:
        """archive name -> kinds of `kinds` that it asks for and may get."""
        return {
            a.name: found
            for a in self.settings.archives
            if may_send(_destination(a), self.level, self.mode, self.simulation)[0] and (found := kinds & set(a.kinds))
        }

    @property
    def level(self) -> EvidenceLevel:
        return self.bundle.level("ich")

    @property
    def least_level(self) -> EvidenceLevel:
        """What an output needs to be in objects. Every archive gets the same ones, so a clinical one makes them strict."""
        places = [_destination(a) for a in self.settings.archives]
        sent_to = [d for d in places if may_send(d, self.level, self.mode, self.simulation)[0]]
        return least_level(self.simulation) if any(d.clinical for d in sent_to) else EvidenceLevel.E0

    def may_tell_prognosis(self) -> bool:
        """Whether prognosis may leave the node at all: switched on, and this node acts (DESIGN.md section 4)."""
        return self.settings.prognosis.in_objects and self.mode is Mode.ACTIVE

    def told(self, predictions: tuple[Prediction, ...]) -> tuple[Prediction, ...]:
        """What of a prognosis goes into objects: each output needs this site's own evaluation."""
        least = least_level(self.simulation)
        levels = [EvidenceLevel(p.evidence or EvidenceLevel.E0.value) for p in predictions]
        return tuple(
            p for p, level in zip(predictions, levels, strict=True) if self.may_tell_prognosis() and level >= least
        )

    def build(
        self,
        record: results.ResultRecord,
        predictions: tuple[Prediction, ...],
        identity_digest: str,
        chosen: list[ReceivedInstance],
        volume: Volume,
        detection: Detection,
        decision: FindingDecision,
        patient: StudyIdentity | None = None,
    ) -> tuple[BuiltFile, ...]:
        """Build what any archive wants of this result. `patient`: whose it is, where the images tell an older identity."""
        kinds = FLAGGED if decision.flagged else NOT_FLAGGED
        asked = frozenset[ObjectKind]().union(*self.wanted(kinds).values())
        if not asked:
            return ()
        received = self.blobs.received
        request = ReportRequest(
            sources=tuple(received.path(i.sha256) for i in chosen),
            kinds=asked,
            identity=self._identity(
                record.input_digest,
                record.policy_version,
                record.revision,
                identity_digest,
                record.detail["clinical_inputs_digest"],
            ),
            node=self._node(),
            at=record.created_at,
            evidence=self.level,
            least_level=self.least_level,
            simulation=self.simulation,
            volume=volume,
            detection=detection,
            decision=worded(decision, detection, self.least_level),
            predictions=self.told(predictions),
            predecessor=self._predecessor(record.study_instance_uid, record.revision),
            patient=patient,
            language=self.settings.node.language,
        )
        return build_objects(request)

    def build_not_analysed(
        self,
        study: studies.StudyRecord,
        held: list[ReceivedInstance],
        reason: str,
        patient: StudyIdentity | None = None,
    ) -> tuple[BuiltFile, ...]:
        """One page for archives that ask for it."""
        asked = frozenset[ObjectKind]().union(*self.wanted(NOT_ANALYSED).values())
        if not asked or not held:
            return ()
        path = self.blobs.received.path(held[0].sha256)
        return build_objects(
            ReportRequest(
                sources=(path,),
                kinds=asked,
                identity=self._identity(
                    held[0].sha256, 0, study.instances, "" if patient is None else identity.digest(patient)
                ),
                patient=patient,
                node=self._node(),
                at=study.closed_at or study.last_instance_at,
                evidence=self.level,
                simulation=self.simulation,
                not_analysed_reason=reason,
                language=self.settings.node.language,
            )
        )

    def keep(self, files: tuple[BuiltFile, ...]) -> None:
        """Make built files durable, where every host finds them, before any row speaks of them. Raises: BlobsAway."""
        for file in files:
            self.blobs.built.keep(file.data)

    def queue(self, c: Connection, files: tuple[BuiltFile, ...], kinds: frozenset[ObjectKind]) -> None:
        """Rows for what was built, in the transaction of the stage."""
        objects = [f.built for f in files]
        results.save_objects(c, objects, now())
        for name, asked in self.wanted(kinds).items():
            mine = [o for o in objects if o.kind in asked]
            fallbacks = _fallbacks(mine)
            outbox.put(c, name, [o for o in mine if o.sop_instance_uid not in fallbacks.values()], now(), fallbacks)

    def last_told(self, record: results.ResultRecord) -> results.ResultRecord | None:
        """The newest earlier revision whose objects stand. None: nothing was built before, or it is withdrawn."""
        uid = record.study_instance_uid
        built = [o.revision for o in self.earlier(record).values()]
        return results.of_revision(self.store, uid, max(built)) if built else None

    def why_silent(self, last: results.ResultRecord, record: results.ResultRecord, kinds: frozenset[ObjectKind]) -> str:
        """Why no objects follow from a revision where those of `last` stand; empty when they do follow."""
        if last.flagged and not record.flagged and not is_void(last, record):
            return "what was raised before stands"
        mine = {u for u, o in self.earlier(record).items() if o.revision == last.revision}
        told = {
            row.peer for row in outbox.of_study(self.store, record.study_instance_uid) if row.sop_instance_uid in mine
        }
        is_told_everywhere = told >= self.wanted(kinds).keys()
        return "nothing new to say" if is_told_everywhere and not is_worth_sending(last, record) else ""

    def outlasting(self, record: results.ResultRecord, sent: frozenset[ObjectKind]) -> frozenset[str]:
        """Archives that have a flag of an earlier revision, and of `sent` get nothing in its place: what they have stands."""
        raised = {u for u, o in self.earlier(record).items() if o.kind in FLAGGED}
        rows = outbox.of_study(self.store, record.study_instance_uid)
        return frozenset(row.peer for row in rows if row.sop_instance_uid in raised) - self.wanted(sent).keys()

    def earlier(self, record: results.ResultRecord) -> dict[str, BuiltObject]:
        """Objects of earlier results that are not withdrawn, by SOP Instance UID."""
        built = results.objects_of(self.store, record.study_instance_uid)
        of_results = FLAGGED | NOT_FLAGGED
        return {o.sop_instance_uid: o for o in built if o.revision < record.revision and o.kind in of_results}

    def pages(self, uid: str) -> dict[str, BuiltObject]:
        """What says that the study was not analysed, by SOP Instance UID: untrue from the first result on."""
        return {o.sop_instance_uid: o for o in results.objects_of(self.store, uid) if o.kind in NOT_ANALYSED}

    def withdraw(
        self, record: results.ResultRecord, old: Mapping[str, BuiltObject], outlasting: frozenset[str] = frozenset()
    ) -> list[tuple[str, BuiltFile]]:
        """(archive, IOCM rejection note) for every archive that holds some of `old` (STANDARDS.md 1.16)."""
        uid = record.study_instance_uid
        held: dict[str, list[BuiltObject]] = {}
        for row in outbox.of_study(self.store, uid):
            o = old.get(row.sop_instance_uid)
            # where another archive keeps an object, it stands, though this one was told already that it does not
            if o is None or row.state not in _HELD_THERE or row.reason == outbox.WITHDRAWN:
                continue
            if o.kind in NOT_ANALYSED or row.peer not in outlasting:
                held.setdefault(row.peer, []).append(o)
        rejection, why = self._why_withdrawn(uid)
        return [
            (
                peer,
                build_rejection_note(
                    RejectionRequest(
                        withdrawn=tuple(self.blobs.built.read(o.sha256) for o in objects),
                        rejection=rejection,
                        reason=why,
                        node=self._node(),
                        at=record.created_at,
                        revision=record.revision,
                        simulation=self.simulation,
                    )
                ),
            )
            for peer, objects in held.items()
        ]

    def _why_withdrawn(self, uid: str) -> tuple[Rejection, str]:
        if studies.identity_was_corrected(self.store, uid):
            return Rejection.PATIENT_SAFETY, "Issued under an identity that was corrected."
        if rejected := rejections.of_study(self.store, uid):
            is_quality = all(r.reason is RejectionReason.QUALITY for r in rejected)
            why = f"Made from images that were {iocm.in_words(rejected)}."
            return (Rejection.QUALITY if is_quality else Rejection.PATIENT_SAFETY), why
        return Rejection.QUALITY, "Replaced by a later result."

    def queue_withdrawals(
        self,
        c: Connection,
        record: results.ResultRecord,
        notes: list[tuple[str, BuiltFile]],
        old: Mapping[str, BuiltObject],
        outlasting: frozenset[str] = frozenset(),
    ) -> None:
        """Send the notes; what of `old` has still to be sent is not sent any more, except results to `outlasting` archives."""
        for peer, note in notes:
            results.save_objects(c, [note.built], now())
            outbox.put(c, peer, [note.built], now())
        pages = [u for u, o in old.items() if o.kind in NOT_ANALYSED]
        of_results = [u for u in old if u not in pages]
        for uids, kept_by in ((pages, frozenset[str]()), (of_results, outlasting)):
            outbox.supersede(c, uids, record.revision, now(), kept_by)
            outbox.mark_withdrawn(c, uids, kept_by)
            results.withdraw(c, uids, now(), kept_by)

    def path(self, o: BuiltObject) -> Path:
        return self.blobs.built.path(o.sha256)

    @property
    def blobs(self) -> Blobs:
        return open_blobs(self.settings.store)

    def _identity(
        self,
        input_digest: str,
        policy_version: int,
        revision: int,
        identity_digest: str,
        clinical_inputs_digest: str = "",
    ) -> ResultIdentity:
        return ResultIdentity(
            input_digest=input_digest,
            bundle_digest=self.bundle.digest,
            runtime=self.bundle.runtime,
            policy_version=policy_version,
            clinical_inputs_digest=clinical_inputs_digest,
            identity_digest=identity_digest,
            revision=revision,
        )

    def _node(self) -> NodeIdentity:
        return NodeIdentity(self.settings.node.name, self.settings.node.institution, __version__)

    def _predecessor(self, uid: str, revision: int) -> BuiltFile | None:
        """The findings SR of the revision before, as it was sent."""
        earlier = [
            o
            for o in results.objects_of(self.store, uid)
            if o.kind is ObjectKind.FINDINGS_SR and o.revision < revision and o.sop_instance_uid
        ]
        if not earlier:
            return None
        newest = max(earlier, key=lambda o: (o.revision, len(o.refers_to)))
        return BuiltFile(newest, self.blobs.built.read(newest.sha256))


def is_worth_sending(earlier: results.ResultRecord, record: results.ResultRecord) -> bool:
    """Objects go again only if answer, finding, urgency, identity, mL (20 %) or a prognosis in them changed (DESIGN.md section 5).

    Or images were rejected since: objects that name them must not stand.
    """
    named = ("finding", "urgency", "identity_digest", "clinical_inputs_digest", "rejected")
    if any(earlier.detail.get(k, "") != record.detail.get(k, "") for k in named):
        return True
    old, new = earlier.hematoma_volume_ml, record.hematoma_volume_ml
    if earlier.detail.get("unsure", False) != record.detail["unsure"]:
        return True
    return earlier.flagged != record.flagged or abs(new - old) > _OTHER_VOLUME * max(old, new)


def is_void(earlier: results.ResultRecord, record: results.ResultRecord) -> bool:
    """Whether objects of `earlier` must not stand, whatever is found now: another's identity, or images that were rejected."""
    named = ("identity_digest", "rejected")
    return any(earlier.detail.get(k, "") != record.detail.get(k, "") for k in named)


def detail_of(
    detection: Detection,
    decision: FindingDecision,
    flag: Flag | None,
    identity_digest: str,
    clinical_inputs_digest: str,
) -> dict[str, Any]:
    """What pages show of a result, as JSON."""
    return {
        "identity_digest": identity_digest,
        "levels": {output: level.value for output, level in decision.bundle.evidence.items()},
        "clinical_inputs_digest": clinical_inputs_digest,
        "slice_probabilities": [round(float(p), 4) for p in detection.slice_probabilities],
        "subtype_probabilities": {k: round(float(p), 4) for k, p in detection.subtype_probabilities.items()},
        "subtypes": list(decision.subtypes),
        "locations": [str(x) for x in decision.locations],
        "finding": decision.finding,
        "urgency": str(flag.urgency) if flag else "",
        "evidence": decision.evidence.value,
        "key_slice_index": detection.key_slice_index,
        "decided_by": decision.operating_point.finding,
        "decided_probability": decision.probability,
        "raise_probability": decision.operating_point.raise_probability,
        "notify_probability": decision.operating_point.notify_probability,
        "unsure_from": decision.operating_point.unsure_from,
        "unsure": decision.unsure,
        "components": [
            {
                "volume_ml": round(c.volume_ml, 2),
                "subtype": c.subtype,
                "location": str(c.location),
                "key_slice_index": c.key_slice_index,
                "centroid_mm": [round(x, 1) for x in c.centroid_mm],
                "probability": round(c.probability, 4),
                "chronic_looking": c.chronic_looking,
            }
            for c in detection.components
        ],
    }


def _destination(archive: ArchiveSettings) -> Destination:
    return Destination(archive.name, archive.clinical, is_loopback(archive))


def _fallbacks(objects: list[BuiltObject]) -> dict[str, str]:
    """SR with a reference to the SEG -> the SR without, where both were built."""
    reports = [o for o in objects if o.kind is ObjectKind.FINDINGS_SR]
    plain = [o for o in reports if not o.refers_to]
    return {o.sop_instance_uid: plain[0].sop_instance_uid for o in reports if o.refers_to and plain}
