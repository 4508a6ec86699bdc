"""The analysis role, the way of a study on one page: study -> volume -> detection -> decision -> prognosis -> report.

DESIGN. A study is claimed with a lease, each stage commits what it found, and everything up to the decision can run twice
with the same outcome: the same pixels, model and policy give the same result revision and the same UIDs. The decision is
committed, and so seen, before anything is drawn. A study that cannot be analysed ends visible with a reason; an error is
tried again, three times at most. Each commit asks whether the study is still ours: a host that was taken for dead and comes
back writes nothing (`_writing`).
"""

from __future__ import annotations

import faulthandler
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

from triage_node.blobs.opened import open_blobs
from triage_node.bundle.load import load_bundle
from triage_node.detection.detector import FindingDetector
from triage_node.detection.ich import BloodNetDetector
from triage_node.detection.operating_point import decide
from triage_node.domain.delivery import BuiltObject
from triage_node.domain.errors import BlobMissing, BlobsAway, LeaseLost, StoreUnavailable, StudyRejected
from triage_node.domain.finding import Detection, EvidenceLevel, FindingDecision, OperatingPoint
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.policy import Policy
from triage_node.domain.priority import Mode
from triage_node.domain.prognosis import Prediction
from triage_node.domain.rejection import KEY_OBJECT_SELECTION
from triage_node.domain.scan_source import ScanSource, source_of
from triage_node.domain.study import IdentityCorrection, Moment, SelectedSeries, StudyEvent, StudyIdentity
from triage_node.domain.volume import Volume
from triage_node.instances.archive import Archive
from triage_node.processes import gate, identity, repeats, reporting, running_model, thresholds
from triage_node.processes import rejections as iocm
from triage_node.processes.console.display import Displays
from triage_node.processes.decision import commit_decision, flag_of, shows_flag
from triage_node.processes.hosts import lease
from triage_node.processes.intake import rule_for, rules_of, too_young
from triage_node.processes.judged import Judged
from triage_node.processes.limits.bounds import turn
from triage_node.processes.limits.passing import may_pass
from triage_node.processes.operations import drift, sink
from triage_node.processes.operations.names import IMAGE_STORE
from triage_node.processes.prognosis import Prognosis
from triage_node.processes.running import Running, is_dead, now, owner, run_role
from triage_node.processes.scans import Scan, Scans, Told, digest_of_all
from triage_node.processes.telling import Teller
from triage_node.processes.trials.queue import Trials
from triage_node.processes.trials.replay import loaded
from triage_node.processes.trials.shadow import Shadow
from triage_node.processes.wiring import (
    built_folder,
    bundle_folder,
    config_digest,
    least_level,
    list_policy,
)
from triage_node.report.request import BuiltFile
from triage_node.store import (
    instances,
    meta,
    operations_drift,
    operations_synthetic,
    outbox,
    policy,
    prognosis,
    rejections,
    results,
    studies,
    succession,
    uploads,
    worklist,
)
from triage_node.store.engine import Connection
from triage_node.study.intake_rules import DEFAULT_RULE
from triage_node.study.selection import CT_CLASSES
from triage_node.volume.decode import CrashedDecoder, Decoder

log = logging.getLogger(__name__)

POLL_S = 0.2
AFTER_NO_ANSWER_S = 1.0
SAY_AGAIN_S = 60.0
UPLOADS_S = 20.0
"""Images go up while they come, so at the report hardly one is left. A study that waits longer gives its place to others."""
UPLOADS_LOOKED_AT_S = 0.1
ASK_BLOBS_S = 2.0
"""How often a store of blobs that is away is asked whether it is back."""


@dataclass(slots=True)
class _Stage:
    """Where a study is, for the reason of a failure."""

    name: str = "study"


class Analysis:
    """Everything that stays warm between studies."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.store, self.settings = running.store, running.settings
        self.simulation = meta.is_simulation(self.store)
        self.blobs = open_blobs(self.settings.store)
        self.received = self.blobs.received
        self._blobs_asked_at: float | None = None
        """When the store of blobs was asked whether it answers again; None while it does. Units: s, monotonic."""
        model = self.settings.model
        self.decoder = Decoder(model.decode_memory_mb << 20, model.decode_timeout_s)
        bundle = load_bundle(bundle_folder(model.bundle))
        self.detector = BloodNetDetector(bundle, threads=model.threads)
        self.bundle = self.detector.identity
        thresholds.settle(self.store, bundle, "node", now())
        self.config_digest = config_digest(self.settings)
        self.is_synthetic = False
        """Whether the study at hand is the node's own heartbeat."""
        self._stand()
        if self.standing.why:
            log.warning("mode=%s %s", self.standing.mode, self.standing.why)
        if not self.blobs.is_shared and not running.takes_over:  # whoever is at work still writes there
            Archive(built_folder(self.settings)).prepare()
        self.prognosis = Prognosis(self.store, self.settings)
        self.displays = Displays(self.blobs, built_folder(self.settings), bundle, self.prognosis.networks)
        self.teller = Teller(self.settings, self.simulation)
        self.rules = rules_of(self.settings)
        self.zone = ZoneInfo(self.settings.node.time_zone)
        self.may_correct = frozenset(s.ae_title for s in self.settings.listener.senders if s.may_correct_identity)
        self.owner = owner("analysis")
        self.stage = _Stage()
        self.trials = Trials(running, self._detector_of)
        self.shadow = Shadow(running)
        self._left = ""
        """The study that was at hand when the database fell silent."""
        self.unread: Volume | None = None
        """The volume of the study at hand that was assembled last, for the page of a study that is declined."""

    def turn(self) -> bool:
        """Do the most urgent thing there is: what nobody waits for comes last, a step at a time. False when there is nothing."""
        return self.work() or self.restate() or self.displays.explain() or self.trials.step() or self.shadow.step()

    def work(self) -> bool:
        """Take one study and bring it as far as it goes. False when there is none. Raises: StoreUnavailable."""
        self._let_go()
        study = studies.claim(self.store, self.owner, now(), lease.LEASE, self._blobs_answer())
        if study is None:
            return False
        uid = study.study_instance_uid
        self.is_synthetic = operations_synthetic.is_synthetic(self.store, uid)
        self._stand()
        self.unread = None
        # the lease is put off as long as we live: a try that hangs, in whatever library, must end us; the next one counts it
        faulthandler.dump_traceback_later(turn(self.settings).total_seconds(), exit=True)
        try:
            with lease.kept(self.store, uid, self.owner):
                self._analyse_or_decline(study)
        except LeaseLost as lost:
            log.warning("left to others: %s", lost)
        except StoreUnavailable:
            self._left = uid
            raise
        except BlobsAway as away:
            self._wait_for_blobs(uid, str(away))
            outbox.record_peer(self.store, IMAGE_STORE, now(), str(away)[:300])
            self._blobs_asked_at = time.monotonic()
        except Exception as error:
            if isinstance(error, BlobMissing) and uploads.of_study(self.store, uid):
                self._wait_for_blobs(uid, "another host has still to upload images of it")
                return True
            log.exception("study=%s stage=%s", uid, self.stage.name)
            reason = f"{type(error).__name__}: {error}"[:200]
            studies.give_back(self.store, uid, self.owner, now(), self.stage.name, reason, may_pass(error))
        finally:
            faulthandler.cancel_dump_traceback_later()
        if self.is_synthetic:
            self.is_synthetic = False
            self._stand()
        return True

    def _let_go(self) -> None:
        """What the database was lost over says nothing of the study: it goes back without a try counted."""
        if self._left:
            studies.release(self.store, self._left, self.owner, now(), "the database did not answer")
            self._left, self.is_synthetic = "", False
            self._stand()

    def _analyse_or_decline(self, study: studies.StudyRecord) -> None:
        try:
            self._analyse(study)
        except StudyRejected as rejected:
            if isinstance(rejected, CrashedDecoder):
                instances.quarantine(self.store, rejected.path.stem, rejected.reason)
            self._end(study, StudyEvent.DECLINED, rejected.reason)
            self._show_unread(study.study_instance_uid)

    def _blobs_answer(self) -> bool:
        """Whether studies that wait for the store of blobs are worth a try. What can be read without it is tried anyway."""
        if self._blobs_asked_at is None:
            return True
        if time.monotonic() - self._blobs_asked_at < ASK_BLOBS_S:
            return False
        if self.blobs.problem():
            self._blobs_asked_at = time.monotonic()
            return False
        outbox.record_peer(self.store, IMAGE_STORE, now())
        self._blobs_asked_at = None
        return True

    def _wait_for_blobs(self, uid: str, why: str) -> None:
        log.warning("study=%s stage=%s waits: %s", uid, self.stage.name, why)
        studies.wait_for_blobs(self.store, uid, self.owner, now(), why)

    def _until_uploaded(self, uid: str) -> None:
        """No study ends whose images lie on one host only (issue 11). Raises: BlobsAway."""
        until = time.monotonic() + UPLOADS_S
        while self.blobs.is_shared and (left := uploads.of_study(self.store, uid)):
            if time.monotonic() > until or self.running.stop.wait(UPLOADS_LOOKED_AT_S):
                raise BlobsAway(f"{left} images of it are still on their way")
            self.running.beat()

    def _analyse(self, study: studies.StudyRecord) -> None:
        uid = study.study_instance_uid
        with self._at("study"):
            held = instances.of_study(self.store, uid)
            rule = rule_for(self.rules, held) if not self.is_synthetic else DEFAULT_RULE
            if rule.out_of_scope:
                return self._end(study, StudyEvent.RULED_OUT, f"out of scope by rule {rule.name!r}")
            if not rule.analyse_when_not_live and not worklist.is_live(self.store, uid):
                return self._end(
                    study, StudyEvent.RULED_OUT, f"not live, and rule {rule.name!r} leaves such studies out"
                )
            if reason := too_young(self.settings, held, studies.identity_corrections(self.store, uid)):
                raise StudyRejected(reason)
            if iocm.judge_notes(self.store, self.received, uid, self.may_correct, held):
                held = instances.of_study(self.store, uid)
            rejected = rejections.of_study(self.store, uid)
            if rejected and not any(i.sop_class_uid in CT_CLASSES for i in held):
                raise StudyRejected(iocm.in_words(rejected))
            if conflict := identity.two_patients(held, studies.identity_corrections(self.store, uid)):
                return self._end(study, StudyEvent.QUARANTINED, conflict)
            if identity.judge_repeats(self.store, self.received, self.decoder, uid, self.may_correct, held):
                held = instances.of_study(self.store, uid)
            study, corrections = self._as_corrected(study)
        with self._at("volume"):
            scans = self._scans(uid, held)
            input_digest = digest_of_all(scans)
            told = instances.identity_of(scans[0].instances[0].header)  # type: ignore[arg-type]
            patient = identity.issued_under(told, study.identity, corrections)
            identity_digest = identity.digest(patient)
        with self._at("detection"):
            points = policy.in_force(self.store, self.bundle.digest)
            earlier = results.latest(self.store, uid)
            # the same pixels, identity, model and thresholds: an earlier run, or a re-send that changed nothing
            # facts enter the UIDs of objects that hold a prognosis, and of no others
            facts_digest = self.prognosis.digest_now(uid, held) if self.reporter.may_tell_prognosis() else ""
            made_from = (input_digest, identity_digest, facts_digest, self.bundle.digest, points.version)
            same = earlier is not None and made_from == (
                earlier.input_digest,
                earlier.detail["identity_digest"],
                earlier.detail.get("clinical_inputs_digest", ""),
                earlier.bundle_digest,
                earlier.policy_version,
            )
            # an identity that went there and back looks the same, but what waited was held back
            was_corrected = bool(corrections) and earlier is not None and corrections[-1].at > earlier.created_at
            same = same and not was_corrected
            if earlier is not None and same and self._is_reported(uid, earlier):
                return self._end(study, StudyEvent.REPORTED, "")
            least = least_level(self.simulation)
            judged = max((self._judged(s, points, study.calling_ae_title, least) for s in scans), key=Judged.strength)
            self._stand(judged.source, judged.point)
            chosen, volume = judged.scan.instances, judged.scan.volume
            detection, decision = judged.detection, judged.decision
        if self.is_synthetic:
            return self._answer_heartbeat(study, decision, detection, chosen, volume, input_digest, identity_digest)
        with self._at("decision"):
            record = earlier
            if record is None or not same:
                repeat = repeats.find(self.store, self.zone, uid, held, decision, bool(self.settings.contacts))
                flag = flag_of(decision, detection, least, now(), repeat, self.standing.calibrated)
                detail = reporting.detail_of(detection, decision, flag, identity_digest, facts_digest)
                detail["apart"] = self.standing.why if self.standing.apart else ""
                detail["rejected"] = str(len(rejected) or "")
                detail["repeat"] = {"of": repeat.of, "is_news": repeat.is_news} if repeat is not None else None
                record = self._record(study, input_digest, detection, decision, detail)
                how = list_policy(self.settings, self.standing.mode)
                apart, why = self.standing.apart, self.standing.why
                images_at = max(i.received_at for i in chosen)
                commit_decision(
                    self.store,
                    record,
                    decision,
                    flag,
                    how,
                    now(),
                    apart,
                    why,
                    self.teller,
                    repeat,
                    self.owner,
                    images_at,
                )
                self._follow_scanner(record, chosen, volume)
        self.running.beat()
        # beside a flag that readers see stands what it was raised by, and nothing of a scan that is only observed
        is_shown = not (self.standing.apart and shows_flag(worklist.row_of(self.store, uid)))
        if is_shown:
            self.displays.keep(uid, volume, detection, record.revision)
        if is_shown and (decision.flagged or decision.unsure):
            self.displays.explain_later(uid, record.revision, volume, detection)
        with self._at("prognosis"):
            predictions = self._predictions(record, volume, detection, held, chosen) if decision.flagged else ()
        with self._at("report"):
            kinds = reporting.FLAGGED if decision.flagged else reporting.NOT_FLAGGED
            last = self.reporter.last_told(record)
            silence = "" if last is None or was_corrected else self.reporter.why_silent(last, record, kinds)
            issued = patient if corrections else None
            self._until_uploaded(uid)
            files: tuple[BuiltFile, ...] = ()
            old, outlasting = self.reporter.pages(uid), frozenset[str]()
            if not silence:
                files = self.reporter.build(
                    record, predictions, identity_digest, chosen, volume, detection, decision, issued
                )
                old |= self.reporter.earlier(record)
                if last is not None and not reporting.is_void(last, record):
                    outlasting = self.reporter.outlasting(record, kinds if files else frozenset())
            notes = self.reporter.withdraw(record, old, outlasting)
            self.reporter.keep((*files, *(note for _, note in notes)))
            with self._writing(uid) as c:
                if self._is_another(c, study):
                    return None
                self.reporter.queue(c, files, kinds)
                self.reporter.queue_withdrawals(c, record, notes, old, outlasting)
                words = f"{len(files)} objects, revision {record.revision}" + (f": {silence}" if silence else "")
                studies.mark(c, uid, Moment.REPORTED, now(), words)
                self._finish(c, study, StudyEvent.REPORTED, "")

    def _follow_scanner(self, record: results.ResultRecord, chosen: list[ReceivedInstance], volume: Volume) -> None:
        """Keep what tells whether the scanner changes (operations/drift.py)."""
        with self._writing(record.study_instance_uid) as c:
            operations_drift.add(c, drift.sample_of(record, [i.header for i in chosen], volume))

    def _answer_heartbeat(
        self,
        study: studies.StudyRecord,
        decision: FindingDecision,
        detection: Detection,
        chosen: list[ReceivedInstance],
        volume: Volume,
        input_digest: str,
        identity_digest: str,
    ) -> None:
        """The rest of the way of a study without a patient: no result, no place on the list, no message; objects for the sink."""
        uid, threshold = study.study_instance_uid, decision.operating_point.raise_probability
        operations_synthetic.decided(self.store, uid, decision.probability, threshold, now())
        with self._at("report"):
            detail = reporting.detail_of(detection, decision, None, identity_digest, "")
            record = self._record(study, input_digest, detection, decision, detail)
            self._until_uploaded(uid)
            files = self.reporter.build(record, (), identity_digest, chosen, volume, detection, decision)
            self.reporter.keep(files)
            with self._writing(uid) as c:
                self.reporter.queue(c, files, reporting.FLAGGED if decision.flagged else reporting.NOT_FLAGGED)
                studies.mark(c, uid, Moment.REPORTED, now(), f"{len(files)} objects of a heartbeat")
                self._finish(c, study, StudyEvent.REPORTED, "")

    def _show_unread(self, uid: str) -> None:
        """A declined study shows what was assembled of it, and nothing of an earlier reading."""
        if self.unread is None:
            self.displays.forget(uid)
        else:
            self.displays.keep(uid, self.unread, None, 0)
            self.unread = None

    def _judged(self, scan: Scan, points: Policy, sender: str, least: EvidenceLevel) -> Judged:
        """What one scan of the study at hand says, under the thresholds and the evidence that hold for its scanner."""
        source = source_of(i.header for i in scan.instances)
        point, others = points.points_for(source, sender)
        self._stand(source, point)
        detection = replace(self.detector.detect(scan.volume), bundle=self.standing.bundle)
        return Judged(scan, source, point, detection, decide(detection, point, least, others), self.standing.apart)

    def _stand(self, scan: ScanSource | None = None, point: OperatingPoint | None = None) -> None:
        """Ask anew what may be done: evidence, thresholds and scan decide, and they change while the node runs."""
        self.standing = gate.standing(self.store, self.settings, self.simulation, self.bundle, scan, point)
        self.reporter = reporting.Reporter(
            self.store, self.settings, self.standing.bundle, self.simulation, self.standing.mode
        )
        if self.is_synthetic:
            # whatever becomes of it, its objects know no way out of this machine, and say what they are
            settings = sink.only_destination(self.settings)
            self.reporter = reporting.Reporter(self.store, settings, self.standing.bundle, True, Mode.OBSERVE)

    def _detector_of(self, bundle: str) -> FindingDetector:
        """For a replay: the one that is warm, or another. Raises: ConfigError, BundleError."""
        return self.detector if bundle == self.settings.model.bundle else loaded(self.settings, bundle)

    def restate(self) -> bool:
        """Take in what somebody stated of one patient since its prognosis was made. False when there is nothing to do.

        Nothing is detected again. Where a prognosis stands in objects, the study goes the whole way again instead: they need pixels.
        """
        uid = prognosis.behind(self.store)
        record = results.latest(self.store, uid) if uid is not None else None
        if uid is None or record is None:
            return False
        again = self.reporter.may_tell_prognosis() and all(
            self.received.has(i.sha256) for i in instances.of_study(self.store, uid)
        )
        revised = self.prognosis.restated(record)
        with self.store.write() as c:
            prognosis.save(c, revised)
            if again:
                studies.advance(c, uid, StudyEvent.REOPENED, now(), "clinical facts for a prognosis in objects")
        return True

    def _predictions(
        self,
        record: results.ResultRecord,
        volume: Volume,
        detection: Detection,
        held: list[ReceivedInstance],
        chosen: list[ReceivedInstance],
    ) -> tuple[Prediction, ...]:
        """The prognosis of a flagged study; an earlier run may have stored it already."""
        made = prognosis.latest(self.store, record.study_instance_uid, record.revision)
        if made is None:
            made = self.prognosis.first(record, volume, detection, held, chosen)
            with self._writing(record.study_instance_uid) as c:
                prognosis.save(c, made)
        return made.predictions

    def _scans(self, uid: str, held: list[ReceivedInstance]) -> list[Scan]:
        """What of a study is read, stored as it is found. Raises: StudyRejected when there is nothing."""

        def selected(selection: SelectedSeries) -> None:
            with self._writing(uid) as c:
                studies.set_selection(c, uid, selection)

        def assembled(volume: Volume) -> None:
            self.unread = volume

        def checked(volume: Volume) -> None:
            with self._writing(uid) as c:
                words = "; ".join((f"{len(volume.hu)} slices", *volume.notes))
                studies.mark(c, uid, Moment.VOLUME, now(), words)

        def unread(words: str) -> None:
            if not self.is_synthetic:
                studies.notice(self.store, uid, words, now(), gives_way=True)

        told = Told(
            selected, lambda digests: instances.set_pixel_digests(self.store, digests), assembled, checked, unread
        )
        return Scans(self.decoder, self.received.path, told, self.received.fetch).read(held)

    def _record(
        self,
        study: studies.StudyRecord,
        input_digest: str,
        detection: Detection,
        decision: FindingDecision,
        detail: dict[str, Any],
    ) -> results.ResultRecord:
        with self.store.read() as c:
            at = succession.time_of_making(c, study.study_instance_uid, now())
        return results.ResultRecord(
            study_instance_uid=study.study_instance_uid,
            revision=study.revision + 1,
            created_at=at,
            input_digest=input_digest,
            bundle_name=self.bundle.name,
            bundle_version=self.bundle.version,
            bundle_digest=self.bundle.digest,
            runtime=self.bundle.runtime,
            policy_version=decision.operating_point.version,
            config_digest=self.config_digest,
            probability=float(detection.study_probability),
            hematoma_volume_ml=float(detection.hematoma_volume_ml),
            flagged=decision.flagged,
            detail=detail,
        )

    def _is_reported(self, uid: str, earlier: results.ResultRecord) -> bool:
        """Whether an earlier run came to the end with this very result."""
        done = f"revision {earlier.revision}"
        return any(e.moment == Moment.REPORTED and done in e.detail for e in studies.timeline_of(self.store, uid))

    def _end(self, study: studies.StudyRecord, event: StudyEvent, words: str) -> None:
        """End without new objects. Archives that ask for it get a page that says that a study was not analysed."""
        uid = study.study_instance_uid
        files: tuple[BuiltFile, ...] = ()
        notes: list[tuple[str, BuiltFile]] = []
        old: dict[str, BuiltObject] = {}
        self._until_uploaded(uid)
        earlier = results.latest(self.store, uid)
        if event is StudyEvent.DECLINED:
            held = [i for i in instances.of_study(self.store, uid) if i.sop_class_uid != KEY_OBJECT_SELECTION]
            files = self.reporter.build_not_analysed(study, held, words, self._issued(study, held))
            if earlier is not None and rejections.of_study(self.store, uid):
                # what others rejected gives no result any more, so none of ours may stand
                earlier = replace(earlier, revision=earlier.revision + 1, created_at=now())
                old = self.reporter.earlier(earlier)
                notes = self.reporter.withdraw(earlier, old)
            self.reporter.keep((*files, *(note for _, note in notes)))
        with self._writing(uid) as c:
            if self._is_another(c, study):
                return
            self.reporter.queue(c, files, reporting.NOT_ANALYSED)
            if notes and earlier is not None:
                self.reporter.queue_withdrawals(c, earlier, notes, old)
            if event is StudyEvent.REPORTED and words:
                studies.mark(c, uid, Moment.REPORTED, now(), words)
            self._finish(c, study, event, "" if event is StudyEvent.REPORTED else words)

    def _as_corrected(self, study: studies.StudyRecord) -> tuple[studies.StudyRecord, list[IdentityCorrection]]:
        """The study under the identity that holds now, and how it came to it."""
        uid = study.study_instance_uid
        with self.store.write() as c:
            held = studies.identity_of(c, uid)
        return replace(study, identity=held), studies.identity_corrections(self.store, uid)

    def _issued(self, study: studies.StudyRecord, held: list[ReceivedInstance]) -> StudyIdentity | None:
        """The identity for objects of a study whose identity was corrected; None: as the headers say."""
        corrections = studies.identity_corrections(self.store, study.study_instance_uid)
        header = held[0].header if held else None
        if not corrections or header is None:
            return None
        return identity.issued_under(instances.identity_of(header), study.identity, corrections)

    def _is_another(self, c: Connection, study: studies.StudyRecord) -> bool:
        """Whether the identity was corrected since the study was taken in hand. It goes back then, and nothing leaves."""
        uid = study.study_instance_uid
        if studies.identity_of(c, uid) == study.identity:
            return False
        studies.advance(c, uid, StudyEvent.RELEASED, now(), "the identity was corrected meanwhile")
        return True

    def _finish(self, c: Connection, study: studies.StudyRecord, event: StudyEvent, reason: str) -> None:
        studies.finish(c, study.study_instance_uid, event, now(), reason, study.instances)
        outbox.settle(c, study.study_instance_uid, now())

    @contextmanager
    def _writing(self, uid: str) -> Iterator[Connection]:
        """A transaction about the study at hand. Raises: LeaseLost, before anything is written, when it is ours no more."""
        with self.store.write() as c:
            studies.hold(c, uid, self.owner)
            yield c

    @contextmanager
    def _at(self, stage: str) -> Iterator[None]:
        self.stage.name = stage
        yield


def main(running: Running) -> None:
    """Work until told to stop. A study in hand is finished first."""
    logging.getLogger("highdicom").setLevel(logging.WARNING)  # twenty lines a report that nobody needs
    analysis = Analysis(running)
    try:
        if running.stop.is_set():  # another one took over meanwhile: what is said of the model is true of that one
            return
        running_model.record_change(running.store, analysis.bundle)
        said = running_model.saying(running.settings, analysis.bundle, analysis.shadow.said)
        said["decodable"] = list(analysis.decoder.decodable())
        running.beat(said)
        running.ready()
        said_at = time.monotonic()
        while not running.stop.is_set():
            try:
                # said again from time to time: one that was to take over may have said otherwise before it ended
                is_due = time.monotonic() - said_at > SAY_AGAIN_S
                said_at = time.monotonic() if is_due else said_at
                running.beat(said if is_due else None)
                studies.take_from_dead(running.store, is_dead, now())
                is_busy = analysis.turn()
            except StoreUnavailable:
                log.exception("the study at hand waits until the database answers")
                running.stop.wait(AFTER_NO_ANSWER_S)
                continue
            if not is_busy:
                running.stop.wait(POLL_S)
    finally:
        analysis.decoder.close()
        analysis.trials.hand_back()


if __name__ == "__main__":
    raise SystemExit(run_role("analysis", main))
