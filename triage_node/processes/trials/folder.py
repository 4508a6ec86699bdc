"""The selection lab: which series of a folder would be read, why not the others, and what would be found.

By the code of the live way from the headers to the decision (scans.py, replay.py), in steps between which live studies go first.
Nothing of it is stored but the answer, for as long as somebody looks at it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from PIL import Image

from triage_node.config.schema import Settings
from triage_node.detection.detector import FindingDetector
from triage_node.domain.errors import InstanceRefused, RefusedAction, StudyRejected
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.policy import Policy
from triage_node.domain.selection import FolderAnswer, SeriesTried, StudyTried
from triage_node.domain.study import SelectedSeries
from triage_node.domain.trial import Reading, Trial
from triage_node.instances.loose_file import read_loose
from triage_node.processes import identity
from triage_node.processes.intake import rule_for, rules_of, too_young
from triage_node.processes.scans import Told
from triage_node.processes.trials import folders
from triage_node.processes.trials.replay import DetectorOf, Found, Replay, reading_of
from triage_node.report import drawing, wording
from triage_node.report.summary_capture import key_slice
from triage_node.store import policy
from triage_node.store.engine import Store
from triage_node.worklist.wording import flag_words

MOST_STUDIES = 5
"""Of one folder; each costs as much as a live one."""
_FILES_A_STEP = 100
_SIMULATED = "SIMULATED"
"""How issuer and manufacturer of our simulated scanners begin."""

Steps = Generator[None, None, FolderAnswer]


class FolderTrials:
    """Judges folders with the warm detector."""

    def __init__(self, store: Store, settings: Settings, replay: Replay, detector_of: DetectorOf) -> None:
        self._store, self._settings, self._replay, self._detector_of = store, settings, replay, detector_of
        self._rules = rules_of(settings)

    def steps(self, trial: Trial) -> Steps:
        """Judge it in steps; whatever comes of it, the files are gone then. Raises: RefusedAction, ConfigError, BundleError."""
        folder = folders.base_of(self._settings) / trial.study_instance_uid
        try:
            return (yield from self._judged(trial, folder))
        except FileNotFoundError:
            raise RefusedAction("The files were erased before they were judged.") from None
        finally:
            folders.erase_files(folder)

    def _judged(self, trial: Trial, folder: Path) -> Steps:
        thresholds = next(p for p in policy.versions(self._store) if p.version == trial.policy_version)
        detector = self._detector_of(trial.bundle)
        files = folders.files_of(folder)
        paths: dict[str, Path] = {}
        by_study: dict[str, list[ReceivedInstance]] = {}
        unread: Counter[str] = Counter()
        for number, file in enumerate(files):
            if number % _FILES_A_STEP == 0:
                yield
            try:
                instance = read_loose(file)
            except InstanceRefused as refused:
                unread[refused.reason] += 1
                continue
            if instance.sha256 in paths:
                unread["the same bytes as another file of the folder"] += 1
                continue
            paths[instance.sha256] = file
            assert instance.header is not None
            by_study.setdefault(instance.header.study_instance_uid, []).append(instance)
        tried: list[StudyTried] = []
        for number, held in enumerate(list(by_study.values())[:MOST_STUDIES]):
            yield
            picture = folders.picture_in(folder, number)
            tried.append((yield from self._study(held, paths.__getitem__, detector, thresholds, picture)))
        return FolderAnswer(
            len(files), tuple(unread.most_common(20)), tuple(tried), max(0, len(by_study) - MOST_STUDIES)
        )

    def _study(
        self,
        held: list[ReceivedInstance],
        path: Callable[[str], Path],
        detector: FindingDetector,
        thresholds: Policy,
        picture: Path,
    ) -> Generator[None, None, StudyTried]:
        choices: list[SelectedSeries] = []
        found: Found | None = None
        why = self._why_not(held)
        if not why:
            try:
                told = Told(selected=choices.append)
                found = yield from self._replay.found(held, path, detector, thresholds, "", told)
            except StudyRejected as rejected:
                why = rejected.reason
        series = _series(held, choices[-1] if choices else None, found, why)
        is_simulated = any(_is_simulated(i) for i in held)
        if found is None:
            return StudyTried(f"It would not be analysed: {why}.", False, series, is_simulated=is_simulated)
        model, decision = detector.identity, found.decision
        nothing = Reading(model.name, model.version, model.digest, thresholds.version)
        _draw(found, is_simulated, picture)
        return StudyTried(
            words=flag_words(decision) if decision.flagged else f"Analysed, {decision.answer}",
            is_flagged=decision.flagged,
            series=series,
            reading=reading_of(nothing, found),
            slices=len(found.best.volume.hu),
            has_picture=True,
            is_simulated=is_simulated,
        )

    def _why_not(self, held: list[ReceivedInstance]) -> str:
        """Why a live study of these images would not come to the selection of a series, else empty."""
        rule = rule_for(self._rules, held)
        if rule.out_of_scope:
            return f"out of scope by rule {rule.name!r}"
        return too_young(self._settings, held) or identity.two_patients(held)


def _series(
    held: Sequence[ReceivedInstance], choice: SelectedSeries | None, found: Found | None, why: str
) -> tuple[SeriesTried, ...]:
    """What is read first, then the others as they rank."""
    members: dict[str, list[ReceivedInstance]] = {}
    for i in held:
        assert i.header is not None
        members.setdefault(i.header.series_instance_uid, []).append(i)
    told: dict[str, tuple[bool, str]] = {}
    if choice is not None and choice.series_instance_uid is not None:
        told[choice.series_instance_uid] = (True, choice.reason if found else f"{choice.reason}; but then: {why}")
    for scan in found.scans[1:] if found else ():
        told[scan.series_instance_uid] = (
            True,
            "another scan of the same study: read too, and the worse of them counts",
        )
    for uid, _, reason in choice.rejected if choice else ():
        told.setdefault(uid, (False, reason))
    for uid in members:
        told.setdefault(uid, (False, why))
    rows = []
    for uid, (is_read, reason) in told.items():
        first = members[uid][0].header
        assert first is not None
        of_reading = found is not None and found.best.series_instance_uid == uid
        description = first.series_description.strip()[:64]
        rows.append(
            SeriesTried(
                first.series_number, description, len(members[uid]), is_read and found is not None, reason, of_reading
            )
        )
    return tuple(rows)


def _is_simulated(instance: ReceivedInstance) -> bool:
    head = instance.header
    return head is not None and (
        head.issuer_of_patient_id.startswith(_SIMULATED) or head.manufacturer.startswith(_SIMULATED)
    )


def _draw(found: Found, is_simulated: bool, picture: Path) -> None:
    """The key slice in the brain window, what was marked outlined, with what it is not for in it. Raises: OSError."""
    pixels = key_slice(found.best.volume, found.detection, found.detection.key_slice_index)
    canvas = drawing.Canvas(pixels)
    words = wording.BANNER + (f" - {wording.SIMULATED}" if is_simulated else "")
    width = pixels.shape[1]
    canvas.paragraph(words, 8, 8, max(9, width // 28), drawing.AMBER, width - 16, shadow=True)
    Image.fromarray(canvas.pixels).save(picture, "PNG")
