"""A night's reading list without a store: 40 studies, and the callables that the console asks for.

The order is computed as processes/web.py does it, so that the pages are tested with what they will really get.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from triage_node.console.deps import About, ConsoleDeps, Delivery, Output, ReadingList, StudyDetails
from triage_node.domain.clinical import ClinicalEntry, ClinicalRevision, problems
from triage_node.domain.delivery import BuiltObject, ObjectKind
from triage_node.domain.errors import StatementConflict, StatementRefused
from triage_node.domain.person import Person, Role
from triage_node.domain.priority import Flag, ListPolicy, Mode, OrderClass, ReadingState, Urgency, WorklistRow
from triage_node.domain.prognosis import Estimate, Prediction, ScoreItem
from triage_node.domain.study import SelectedSeries, StudyState, TimelineEntry
from triage_node.worklist.leaving import late_flags, not_confirmed, without_flag
from triage_node.worklist.order import is_claimed, order

NOW = datetime(2026, 11, 21, 3, 12, 40, tzinfo=UTC)
ROOT = "1.2.826.0.1.3680043.8.498."

_NAMES = (
    "NAKAMURA, YUKI|OKAFOR, ADA|LINDQVIST, ERIK|MARTÍNEZ, LUCÍA|KOWALSKI, PIOTR|HAAS, MARGARETE|SINGH, ARJUN|DUBOIS, CLAIRE"
    "|O'BRIEN, NIAMH|FERRARI, MARCO|ØSTERGAARD, LENE|ŁUKASIK, ZOFIA|TANAKA, HIROSHI|BROWN, SAMUEL|PETROVA, ELENA|COHEN, DAVID"
    "|SANTOS, BEATRIZ|WEBER, JONAS|ADEYEMI, TUNDE|JOHANSSON, MAJA"
).split("|")
_DESCRIPTIONS = ("CT head w/o contrast", "CT head trauma", "CT Schädel nativ", "CT head, fall", "CT head, headache")


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


@dataclass
class SampleNode:
    """A node that can be changed while the page is open: `touch` after a change, as the store does it."""

    rows: dict[str, WorklistRow] = field(default_factory=dict)
    about: dict[str, About] = field(default_factory=dict)
    policy: ListPolicy = field(default_factory=lambda: ListPolicy(mode=Mode.ACTIVE))
    version: int = 1
    now: datetime = NOW
    simulation: bool = False
    beats: dict[str, datetime] = field(default_factory=dict)
    role: Role = Role.ADMINISTRATOR
    files: dict[str, Path] = field(default_factory=dict)
    details: dict[str, StudyDetails] = field(default_factory=dict)
    list_version_calls: int = 0
    statements: dict[str, list[ClinicalRevision]] = field(default_factory=dict)

    def add(
        self,
        name: str = "",
        order_class: OrderClass = OrderClass.ROUTINE,
        minutes: float = 10,
        state: StudyState = StudyState.DELIVERED,
        live_words: str = "",
        description: str | None = None,
        **more: object,
    ) -> str:
        number = len(self.rows)
        uid = f"{ROOT}{1000 + number}"
        self.rows[uid] = WorklistRow(uid, order_class, self.now - timedelta(minutes=minutes), **more)  # type: ignore[arg-type]
        label = name or _NAMES[number % len(_NAMES)]
        what = _DESCRIPTIONS[number % len(_DESCRIPTIONS)] if description is None else description
        accession, source = f"A{204100 + 7 * number}", ("CT1", "CT2")[number % 2]
        self.about[uid] = About(label, f"{accession} · {what}", state, live_words, 1, source, accession)
        return uid

    def change(self, uid: str, **values: object) -> None:
        self.rows[uid] = replace(self.rows[uid], **values)  # type: ignore[arg-type]
        self.version += 1

    def reading_list(self, now: datetime, flags_count: bool) -> ReadingList:
        policy = replace(self.policy, mode=Mode.ACTIVE) if flags_count else self.policy
        rows = list(self.rows.values())
        if policy.mode is Mode.OBSERVE:
            rows = [without_flag(row) for row in rows]
        plain = order(rows, now, replace(policy, mode=Mode.OBSERVE)) if flags_count else []
        return ReadingList(
            version=self.version,
            policy=policy,
            placed=tuple(order(rows, now, policy)),
            about=self.about,
            late=tuple(late_flags(rows, policy)),
            not_confirmed=tuple(not_confirmed(rows, policy)),
            claimed=frozenset(r.study_instance_uid for r in rows if is_claimed(r, now, policy)),
            moved_from={p.row.study_instance_uid: p.position for p in plain},
        )

    def count_version(self) -> int:
        self.list_version_calls += 1
        return self.version

    def study(self, uid: str) -> StudyDetails | None:
        if uid in self.details or uid not in self.rows:
            return self.details.get(uid)
        return replace(details_of(self, uid), statements=tuple((s, True) for s in self.statements.get(uid, ())))

    def state_facts(self, uid: str, entry: ClinicalEntry, by: str, via: str, seen_revision: int) -> ClinicalRevision:
        """As processes/clinical.py does it, with a scan twenty minutes ago and an age of 71 in the header."""
        held = self.statements.setdefault(uid, [])
        if found := problems(entry.completed(), self.now, self.now - timedelta(minutes=20), 71):
            raise StatementRefused(*found)
        if seen_revision != len(held):
            raise StatementConflict("Somebody else has entered facts meanwhile. Look at them, then enter yours.")
        held.append(ClinicalRevision(uid, seen_revision + 1, self.now, by, via, "p", entry.completed()))
        return held[-1]

    def timeline(self, uid: str) -> list[TimelineEntry] | None:
        if uid not in self.rows:
            return None
        arrived = self.rows[uid].arrived_at
        moments = (
            (0, "first byte", "CT1 from 10.20.0.14"),
            (14.2, "last slice", ""),
            (17.4, "complete", "released, quiet, geometry"),
            (17.6, "analysis started", "analysis@node:211"),
            (18.9, "volume assembled", "34 slices"),
            (21.3, "decided", "revision 1"),
            (21.3, "flagged", "Suspected IPH, 34 mL, very likely"),
            (24.0, "report built", "5 objects"),
            (25.1, "object sent", "findings_sr to PACS"),
            (26.4, "object committed", "findings_sr to PACS"),
        )
        return [TimelineEntry(uid, arrived + timedelta(seconds=s), moment, detail) for s, moment, detail in moments]

    def deps(self) -> ConsoleDeps:
        return ConsoleDeps(
            reading_list=self.reading_list,
            list_version=self.count_version,
            mode=lambda: self.policy.mode,
            study=self.study,
            timeline=self.timeline,
            object_file=self.files.get,
            heartbeats=lambda: self.beats or dict.fromkeys(("ingest", "analysis", "scheduler"), self.now),
            simulation=self.simulation,
            person_of=lambda request: Person("somebody", frozenset({self.role})),
            now=lambda: self.now,
            state_facts=self.state_facts,
        )


def flag(urgency: Urgency, words: str, minutes: float, finding: str = "iph") -> Flag:
    return Flag(finding, urgency, words, ago(minutes))


def night(mode: Mode = Mode.ACTIVE, simulation: bool = False) -> SampleNode:
    """40 studies: flags of each urgency, STAT near and over its bound, one being read, some not analysed, one late."""
    node = SampleNode(policy=ListPolicy(mode=mode), simulation=simulation)
    stat, urgent = OrderClass.STAT, OrderClass.URGENT
    node.add(minutes=6, flag=flag(Urgency.HIGH, "Suspected IPH, 21 mL, very likely", 3))
    node.add(minutes=11, flag=flag(Urgency.CRITICAL, "Suspected SAH, 34 mL, very likely", 4, "sah"))
    node.add(order_class=urgent, minutes=48, flag=flag(Urgency.HIGH, "Suspected SDH, 12 mL, likely", 41, "sdh"))
    node.add(order_class=stat, minutes=26)
    node.add(
        order_class=stat, minutes=37, state=StudyState.FAILED, status_words="not analysed, failed: 9 slices missing"
    )
    node.add(minutes=22, flag=flag(Urgency.MODERATE, "Suspected ICH, 2 mL, possible", 16, "ich"))
    node.add(order_class=stat, minutes=7)
    node.add(order_class=stat, minutes=1, state=StudyState.RECEIVING, status_words="arriving")
    node.add(order_class=urgent, minutes=31)
    node.add(order_class=urgent, minutes=72)
    node.add(
        order_class=urgent,
        minutes=18,
        state=StudyState.DECLINED,
        status_words="not analysed: not a patient's head, the interior is air",
    )
    node.add(
        order_class=urgent,
        minutes=14,
        reading_state=ReadingState.BEING_READ,
        claimed_by="Dr. Lee",
        claimed_at=ago(3),
        flag=flag(Urgency.HIGH, "Suspected IPH, 8 mL, likely", 9),
    )
    node.add(minutes=3, state=StudyState.ANALYSING, status_words="being analysed")
    node.add(minutes=55, state=StudyState.OUT_OF_SCOPE, status_words="not analysed: paediatric scanner rule")
    for i in range(24):
        node.add(minutes=64 + 41 * i)
    node.add(
        minutes=240,
        live=False,
        flag=flag(Urgency.HIGH, "Suspected SDH, 40 mL, likely", 230, "sdh"),
        live_words="acquired 2 d 3 h before it arrived",
    )
    node.add(
        minutes=1500,
        reading_state=ReadingState.NOT_CONFIRMED,
        flag=flag(Urgency.HIGH, "Suspected IPH, 15 mL, likely", 1480),
    )
    return node


def details_of(node: SampleNode, uid: str) -> StudyDetails:
    row, about = node.rows[uid], node.about[uid]
    if row.status_words.startswith("not analysed"):
        return StudyDetails(uid, about, row.status_words.partition(": ")[2], row.arrived_at, 34, "deadline", row)
    model = "bloodnet 0.3.1 (3f9a…c210), onnxruntime 1.22 fp32"
    point = "raise 0.42, notify 0.78 (policy 3)"
    built = [
        BuiltObject(f"2.25.77{i}", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.9", uid, kind, 1, "ab" * 32, size)
        for i, (kind, size) in enumerate(
            [
                (ObjectKind.FINDINGS_SR, 21_340),
                (ObjectKind.SEG, 310_220),
                (ObjectKind.HEATMAP_SC, 7_812_000),
                (ObjectKind.SUMMARY_SC, 1_120_400),
            ]
        )
    ]
    return StudyDetails(
        study_instance_uid=uid,
        about=about,
        reason="",
        arrived_at=row.arrived_at,
        instances=34,
        close_signal="released, quiet, geometry",
        row=row,
        result_words=row.flag.words if row.flag else "Nothing was raised. That is no statement that there is no bleed.",
        outputs=(
            Output("Intracranial hemorrhage", "very likely", model, point, "E1: public real data, held-out patients"),
            Output("Volume", "34 mL", model, "mask at 0.5", "E0: simulated data only"),
            Output("Location", "deep, right", model, "largest component", "E0: simulated data only"),
        ),
        predictions=(
            Prediction(
                name="ich_score",
                label="ICH score",
                items=(
                    ScoreItem("age", True, "71 years (DICOM header)", 0, (0, 0)),
                    ScoreItem("GCS", False, "not computable", None, (0, 2)),
                ),
                missing=("GCS",),
                score_range=(1, 3),
                columns=(("30-day mortality", 13.0, 72.0, "%"),),
                source="Hemphill 2001",
                evidence="E0",
            ),
            Prediction(
                name="expansion",
                label="Hematoma expansion",
                missing=("warfarin",),
                estimates=(Estimate("Growth over 33 % or 6 mL in 24 h", 0.312, 0.14, 0.61, ""),),
                used=(
                    ("onset to CT", "2 h (entered by Dr. Lee, 2026-11-21 03:00 UTC)"),
                    ("hematoma", "34.1 mL (model)"),
                ),
                warnings=("volume by regression and by mask differ by 41 %",),
                model="expansion 0.1.0",
                evidence="E0",
            ),
            Prediction(
                name="func", label="FUNC score", abstained="Only for spontaneous IPH; trauma was not ruled out."
            ),
        ),
        selection=SelectedSeries(
            f"{uid}.4",
            "axial, 5 mm, soft kernel, 34 slices, whole head",
            ((f"{uid}.1", 1, "localizer"), (f"{uid}.5", 5, "bone kernel"), (f"{uid}.9", 999, "dose page")),
        ),
        objects=tuple(
            (o, (Delivery("PACS", "committed"), Delivery("Research archive", "pending", "connection refused, 3 tries")))
            for o in built
        ),
        sr_text=(
            "Imaging Measurement Report\n  Procedure reported: CT of head\n  Finding: Cerebral hemorrhage\n    Volume: 34.1 mL\n"
            "    Finding site: Basal ganglia\n  Evidence level: E1\n  Not for diagnostic use"
        ),
    )
