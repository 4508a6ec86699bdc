"""The plain folder: pictures or DICOM files and `labels.csv` with `file,label`; `study` and `slice` make volumes of them.

label: 1 hemorrhage, 0 none, -1 not scored. Optional columns: study, slice, patient, subtype (words such as "EDH + SDH"), one
0/1 column per subtype (epidural, ...), study_label, spacing_mm, thickness_mm, age, sex, gcs, volume_ml.
Files: DICOM, 8-bit windowed pictures of any size and colour mode, 16-bit PNG with HU + 1024, NIfTI (one study a file).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from triage_node.datasets import dicom_slices, nifti, pictures, words
from triage_node.datasets.clipped import opened_upwards
from triage_node.datasets.data_set import DataSet, Ledger, closed
from triage_node.datasets.dicom_slices import DicomFile
from triage_node.datasets.folder import Folder
from triage_node.datasets.pictures import PictureFacts
from triage_node.datasets.tables import Row, Table, nearest, read_columns, read_table
from triage_node.domain.case import Case, HeadVolume, Labels
from triage_node.domain.errors import CaseUnreadable, DataSetError
from triage_node.domain.finding import SUBTYPES

NAME = "plain"
LICENCE = "not stated by the folder; ask who made it before it is shown or trained on"
FILE, LABEL = ("file",), ("label",)
PATIENT = ("patient", "patient id")
STUDY = ("study", "study id")
SLICE = ("slice", "slice number", "slice index")
SUBTYPE = ("subtype", "subtypes")
STUDY_LABEL = ("study label",)
SEX = ("sex", "gender")
NUMBERS = {
    "spacing_mm": ("spacing mm", "pixel spacing mm", "pixel spacing", "spacing"),
    "thickness_mm": ("thickness mm", "slice thickness mm", "slice thickness", "thickness"),
    "age_years": ("age years", "age"),
    "gcs": ("gcs",),
    "volume_ml": ("volume ml", "hematoma ml", "ml"),
}
PER_SUBTYPE = {
    "iph": ("iph", "intraparenchymal"),
    "ivh": ("ivh", "intraventricular"),
    "sah": ("sah", "subarachnoid"),
    "sdh": ("sdh", "subdural"),
    "edh": ("edh", "epidural", "extradural"),
}
MAY_BE_MISSING = 0.5
"""When more than this share of the rows names no file, the table belongs to another folder."""

GAP, FEW_GAPS = 1.5, 0.2
"""Steps over 1.5 times the median are gaps; with more of them than a fifth, slices do not explain each other."""


@dataclass
class _Item:
    """One row with its file."""

    row: Row
    file: str
    label: int | None
    subtypes: dict[str, int]
    study: str
    place: float | None
    patient: str
    numbers: dict[str, float]
    study_label: int | None
    of_study: frozenset[str]
    picture: PictureFacts | None = None
    dicom: DicomFile | None = None
    digest: str = ""
    sex: str = ""
    owner: str = ""
    """The patient whose it is, as far as anything tells."""


def find_table(folder: Folder) -> str | None:
    """`labels.csv` at the top in any case, else the only table there that has a file and a label column."""
    tables = [f for f in folder.ending(".csv", ".tsv") if "/" not in f]
    named = [f for f in tables if f.casefold() in ("labels.csv", "labels.tsv")]
    if len(named) == 1:
        return named[0]
    fitting = []
    for name in tables:
        try:
            table = read_columns(folder.at(name), name)
        except DataSetError:
            continue
        if table.find(*FILE) and table.find(*LABEL):
            fitting.append(name)
    return fitting[0] if len(fitting) == 1 else None


def open_plain(folder: Folder) -> DataSet:
    """Open the folder. Raises DataSetError with the file, column or line that does not fit."""
    name = find_table(folder)
    if name is None:
        raise DataSetError(
            f"{folder.path.name}: expected labels.csv with columns file and label; {folder.found_words()}"
        )
    table = read_table(folder.at(name), name)
    ledger, notes = Ledger(), list[str]()
    lost: defaultdict[str, list[words.Stated]] = defaultdict(list)
    items = _items(folder, table, ledger, notes, lost)
    for item in list(items):
        if reason := _look(folder, item):
            ledger.skip(item.file, reason)
            items.remove(item)
            lost[item.study].append((item.label, item.subtypes))
    _say_whose(items)
    items, joined = _copies(items, ledger, notes, lost)
    cases = []
    for study, members in _studies(items).items():
        try:
            gone = lost[study] if members[0].study else []
            cases.append(_case(folder, study, members, gone, joined, notes))
            ledger.use(*cases[-1].slice_ids)
        except CaseUnreadable as error:
            for item in members:
                ledger.skip(item.file, str(error))
    leftover = [f for f in folder.files if _is_image(folder, f)]
    ledger.see(*leftover)
    ledger.skip_rest(f"not named in {name}")
    unknown = sum(c.labels.study_label is None for c in cases)
    if unknown:
        notes.append(
            f"{unknown} studies hold slices without a label and none with hemorrhage: their study label is unknown"
        )
    return closed(NAME, folder.path, LICENCE, cases, ledger, list(dict.fromkeys(notes)))


def _is_image(folder: Folder, name: str) -> bool:
    """By its ending; a file without one by its first bytes."""
    endings = (*pictures.SUFFIXES, ".dcm", ".dicom", ".ima", *nifti.SUFFIXES)
    if "." not in name.rpartition("/")[2]:
        return dicom_slices.is_dicom(folder.at(name))
    return name.casefold().endswith(endings)


def _items(
    folder: Folder, table: Table, ledger: Ledger, notes: list[str], lost: dict[str, list[words.Stated]]
) -> list[_Item]:
    """`lost` gets what is said of slices that are not there, by study."""
    file_column, label_column = table.need(*FILE), table.need(*LABEL)
    columns = {k: table.find(*names) for k, names in NUMBERS.items()}
    study, place, patient = table.find(*STUDY), table.find(*SLICE), table.find(*PATIENT)
    subtype, study_label, sex = table.find(*SUBTYPE), table.find(*STUDY_LABEL), table.find(*SEX)
    per_subtype = {k: c for k, n in PER_SUBTYPE.items() if (c := table.find(*n)) is not None and c != label_column}
    by_file: dict[str, _Item] = {}
    missing: list[Row] = []
    foreign: Counter[str] = Counter()
    for row in table.rows:
        where = f"{table.name} line {row.line}"
        told = row.get(file_column)
        if not told:
            raise DataSetError(f"{where}: no file name")
        try:
            label = words.stated_label(row.get(label_column))
            whole = words.stated_label(row.get(study_label))
            matches = folder.matches(told)
            if len(matches) > 1:
                matches = tuple(f for f in matches if _is_image(folder, f)) or matches
            subtypes, of_study, strange = subtypes_of(row, label, subtype, per_subtype, bool(row.get(study)))
        except (ValueError, DataSetError) as error:
            raise DataSetError(f"{where}: {error}") from None
        foreign.update(strange)
        if not matches:
            missing.append(row)
            lost[row.get(study)].append((label, subtypes))
            ledger.skip(f"{where} ({told[:80]})", "the file is not there" + folder.suggestion(told))
            continue
        if len(matches) > 1:
            lost[row.get(study)].append((label, subtypes))
            ledger.skip(f"{where} ({told[:80]})", f"several files of this name: {', '.join(matches[:3])}")
            continue
        numbers = {k: v for k, c in columns.items() if (v := words.number(row.get(c))) is not None}
        at = words.number(row.get(place))
        if place is not None and row.get(place) and at is None:
            at = _number_in(row.get(place))
            if at is None:
                raise DataSetError(f"{where}: slice {row.get(place)[:40]!r} is no number")
        item = _Item(row, matches[0], label, subtypes, row.get(study), at, row.get(patient), numbers, whole, of_study)
        item.sex = words.sex(row.get(sex))
        before = by_file.get(matches[0])
        if before is None:
            by_file[matches[0]] = item
            ledger.see(matches[0])
        elif (before.label, before.study, before.place, before.patient) != (
            item.label,
            item.study,
            item.place,
            item.patient,
        ):
            raise DataSetError(
                f"{where}: {told[:80]!r} was named before, in line {before.row.line}, with another label, study, slice or patient"
            )
        else:
            # one row for each subtype
            before.subtypes.update({k: 1 for k, v in item.subtypes.items() if v})
            ledger.skip(f"{where} ({told[:80]})", f"the same as line {before.row.line}")
    if not table.rows:
        raise DataSetError(f"{table.name}: a header and no rows")
    if len(missing) > MAY_BE_MISSING * len(table.rows):
        first = missing[0].get(file_column)
        raise DataSetError(
            f"{table.name}: {len(missing)} of {len(table.rows)} rows name files that are not there, first {first[:80]!r}"
            f"{folder.suggestion(first)}; {folder.found_words()}"
        )
    for word, count in foreign.most_common(5):
        notes.append(
            f"subtype {word[:40]!r} means nothing here ({count} rows); it counts as not known{nearest(word, SUBTYPES)}"
        )
    return list(by_file.values())


def _number_in(text: str) -> float | None:
    """`slice_07.png` and `IM 7` are slice 7: the only number in the text."""
    parts = [p for p in words.natural(text) if p[0] == 0]
    return float(parts[0][1]) if len(parts) == 1 else None


def subtypes_of(
    row: Row, label: int | None, column: str | None, per_subtype: dict[str, str], of_slice: bool = False
) -> tuple[dict[str, int], frozenset[str], tuple[str, ...]]:
    """(what is known of each subtype, subtypes that the study has elsewhere, words not understood).

    A named one is present; others are absent only where the row says that nothing bleeds, or has a column for them. A slice
    (`of_slice`) without blood that names a subtype tells what its study has. Raises ValueError for a contradiction.
    """
    known: dict[str, int] = {}
    named, strange = words.subtypes_named(row.get(column))
    for key, its_column in per_subtype.items():
        if (value := words.stated_label(row.get(its_column))) is not None:
            known[key] = value
    if label != 0:
        return known | dict.fromkeys(named, 1), frozenset(), strange
    there = named | {k for k, v in known.items() if v}
    if there and not of_slice:
        raise ValueError(f"label 0 (none), but subtype {min(there)} is said to be there")
    return dict.fromkeys(SUBTYPES, 0), frozenset(there), strange


def _look(folder: Folder, item: _Item) -> str:
    """Find out what the file is. Returns the reason when it cannot be used."""
    path = folder.at(item.file)
    try:
        if item.file.casefold().endswith(nifti.SUFFIXES):
            nifti.check(path)
        elif dicom_slices.is_dicom(path):
            item.dicom = dicom_slices.read_header(path, item.file)
            if dicom_slices.says_contrast(item.dicom):
                return "after contrast agent, by its header; the node reads scans without contrast"
            if not item.dicom.is_hu:
                dicom_slices.read_picture(item.dicom)
            item.digest = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            item.picture = pictures.look_at(path)
            item.digest = "" if item.picture.constant else item.picture.sha256
    except CaseUnreadable as error:
        return str(error)
    return ""


def _copies(
    items: list[_Item], ledger: Ledger, notes: list[str], lost: dict[str, list[words.Stated]]
) -> tuple[list[_Item], dict[str, str]]:
    """The same picture twice: with one label the patients of its copies become one, so that no split parts them; with two
    labels nobody knows, and all copies go. Blank pictures are alike in every head and are left alone.

    Returns what is left, and patient -> the patient under whose name both stand.
    """
    by_digest: defaultdict[str, list[_Item]] = defaultdict(list)
    for item in items:
        if item.digest:
            by_digest[item.digest].append(item)
    bad: set[int] = set()
    joined: dict[str, str] = {}
    for copies in by_digest.values():
        if {0, 1} <= {c.label for c in copies}:
            for c in copies:
                others = ", ".join(o.file for o in copies if o is not c)
                ledger.skip(c.file, f"the same picture as {others[:120]}, labelled otherwise")
                bad.add(id(c))
                lost[c.study].append((None, {}))
            continue
        first = _root(joined, copies[0].owner)
        for c in copies[1:]:
            if (other := _root(joined, c.owner)) != first:
                joined[other] = first
                notes.append(f"{copies[0].file} and {c.file} are the same picture: their patients count as one")
    return [i for i in items if id(i) not in bad], joined


def _root(joined: dict[str, str], patient: str) -> str:
    while patient in joined:
        patient = joined[patient]
    return patient


def _say_whose(items: Sequence[_Item]) -> None:
    """The table's patient goes before the images', theirs before the study. An id that all images bear is nobody's."""
    several = len({_patient_id(i) for i in items} - {""}) > 1
    for study, members in _studies(items).items():
        told = {m.patient for m in members} - {""}
        held = {_patient_id(m) for m in members} - {""} if several or not members[0].study else set[str]()
        owner = next((next(iter(ids)) for ids in (told, held) if len(ids) == 1), study)
        for m in members:
            m.owner = m.patient or owner


def _patient_id(item: _Item) -> str:
    return item.dicom.header.patient_id if item.dicom is not None else ""


def _studies(items: Sequence[_Item]) -> dict[str, list[_Item]]:
    studies: dict[str, list[_Item]] = {}
    taken = {i.study for i in items}
    for item in items:
        key = item.study or item.file
        studies.setdefault(key if item.study or key not in taken else f"file {key}", []).append(item)
    return studies


def _case(
    folder: Folder,
    study: str,
    members: list[_Item],
    lost: Sequence[words.Stated],
    joined: dict[str, str],
    notes: list[str],
) -> Case:
    """`lost`: what is said of slices of this study that cannot be read."""
    kinds = {_kind(m, members) for m in members}
    if len(kinds) > 1:
        raise CaseUnreadable(f"study {study}: files of different kinds ({', '.join(sorted(kinds))})")
    kind = kinds.pop()
    members = _ordered(study, members, kind, notes)
    stated_patients = {m.patient for m in members if m.patient}
    if len(stated_patients) > 1:
        raise CaseUnreadable(f"study {study}: belongs to several patients ({', '.join(sorted(stated_patients)[:3])})")
    slice_labels = tuple(m.label for m in members)
    stated = {m.study_label for m in members} - {None}
    if len(stated) > 1:
        raise CaseUnreadable(f"study {study}: study_label differs between its rows")
    all_labels = (*slice_labels, *(label for label, _ in lost))
    study_label = stated.pop() if stated else words.any_of(all_labels)
    if lost:
        notes.append(
            f"study {study}: {len(lost)} of its slices cannot be read; what is said of them counts for the study"
        )
    if study_label == 0 and 1 in all_labels:
        raise CaseUnreadable(f"study {study}: study_label 0, but a slice has label 1")
    subtypes = tuple(m.subtypes for m in members)
    elsewhere = frozenset[str]().union(*(m.of_study for m in members))
    if elsewhere and study_label == 0:
        raise CaseUnreadable(f"study {study}: no slice bleeds, but subtype {min(elsewhere)} is said to be there")
    numbers = _common(study, members, notes)
    first = members[0].dicom
    gcs = numbers.get("gcs")
    files = [folder.at(m.file) for m in members]
    frames = [m.dicom.header.number_of_frames for m in members if m.dicom is not None]
    if kind == "nifti" or max(frames, default=1) > 1:
        if len(members) > 1:
            raise CaseUnreadable(f"study {study}: several files that hold a whole scan each")
        load = partial(nifti.read, files[0]) if first is None else partial(dicom_slices.read_stack, [first], True)
        labels = Labels(study_label=study_label, study_subtypes=subtypes[0])
    else:
        of_study = words.merged_subtypes((*subtypes, *(s for _, s in lost))) | dict.fromkeys(elsewhere, 1)
        labels = Labels(slice_labels, study_label, subtypes, of_study)
        contiguous = _neighbours(members)
        load = (
            partial(dicom_slices.read_stack, [m.dicom for m in members if m.dicom], False, True)
            if kind == "dicom"
            else partial(
                _read_pictures, files, kind, contiguous, numbers.get("spacing_mm"), numbers.get("thickness_mm")
            )
        )
        if kind == "dicom picture":
            load = partial(_read_dicom_pictures, [m.dicom for m in members if m.dicom])
    age = numbers.get("age_years", first.age_years if first is not None else None)
    return Case(
        source=NAME,
        patient_id=_root(joined, members[0].owner),
        study_id=study,
        slice_ids=tuple(m.file for m in members),
        labels=_with_numbers(labels, age, gcs, numbers.get("volume_ml")),
        load=load,
        is_hu=kind in ("dicom", "hu", "nifti"),
        scanner=first.made_by.scanner if first is not None else "",
        kernel=first.made_by.kernel if first is not None else "",
        software=first.made_by.software if first is not None else "",
        sex=members[0].sex or (words.sex(first.header.patient_sex) if first is not None else ""),
        thickness_mm=numbers.get("thickness_mm", first.header.slice_thickness_mm if first is not None else None),
        licence=LICENCE,
        family=NAME,
        simulated=any(dicom_slices.says_simulated(m.dicom) for m in members if m.dicom is not None),
    )


def _with_numbers(labels: Labels, age: float | None, gcs: float | None, volume_ml: float | None) -> Labels:
    whole = int(gcs) if gcs is not None and gcs == int(gcs) and 3 <= gcs <= 15 else None
    return replace(labels, age_years=age, gcs=whole, volume_ml=volume_ml)


def _kind(item: _Item, members: Sequence[_Item]) -> str:
    """dicom, dicom picture, hu (16-bit), grey, nifti. A 16-bit slice of air is judged by the other slices of its study."""
    if item.dicom is not None:
        return "dicom" if item.dicom.is_hu else "dicom picture"
    if item.picture is None:
        return "nifti"
    if not item.picture.deep:
        return "grey"
    highest = max(m.picture.highest for m in members if m.picture is not None and m.picture.deep)
    return "hu" if pictures.LEAST_HU_WORD <= highest <= pictures.HIGHEST_HU_WORD else "grey"


def _ordered(study: str, members: list[_Item], kind: str, notes: list[str]) -> list[_Item]:
    if len(members) == 1:
        return members
    if kind == "dicom":
        files = [m.dicom for m in members if m.dicom is not None]
        ordered = dicom_slices.in_order(files)
        if ordered is not None:
            by_name = {m.file: m for m in members}
            return [by_name[f.name] for f in ordered]
    places = [m.place for m in members]
    if all(p is None for p in places):
        notes.append("studies without a slice column are in the order of their file names")
        return sorted(members, key=lambda m: words.natural(m.file))
    if None in places:
        raise CaseUnreadable(f"study {study}: some rows have no slice number")
    twice = [p for p, n in Counter(places).items() if n > 1]
    if twice:
        raise CaseUnreadable(f"study {study}: two files at slice {twice[0]:g}")
    return sorted(members, key=lambda m: m.place or 0.0)


def _neighbours(members: Sequence[_Item]) -> bool:
    """Whether files that follow each other are neighbours in the head: by numbers with few gaps, else by names that differ
    in a number alone."""
    places = [m.place for m in members if m.place is not None]
    if len(places) == len(members):
        steps = np.diff(places)
        return not steps.size or float((steps > GAP * np.median(steps)).mean()) <= FEW_GAPS
    return len({tuple(p for kind, p in words.natural(m.file) if kind) for m in members}) == 1


def _common(study: str, members: Sequence[_Item], notes: list[str]) -> dict[str, float]:
    """Numbers that all rows of a study agree on; a study whose rows differ has none."""
    common: dict[str, float] = {}
    for key in NUMBERS:
        values = {m.numbers[key] for m in members if key in m.numbers}
        if len(values) == 1:
            common[key] = values.pop()
        elif values:
            notes.append(f"study {study}: {key} differs between its rows and is left out")
    return common


def _read_pictures(
    files: Sequence[Path], kind: str, contiguous: bool, spacing_mm: float | None, thickness_mm: float | None
) -> HeadVolume:
    spacing = None if spacing_mm is None else (spacing_mm, spacing_mm)
    n = len(files)
    thickness = None if thickness_mm is None else np.full(n, thickness_mm)
    positions = None if thickness_mm is None or not contiguous or n < 2 else np.arange(n) * thickness_mm
    if kind == "grey":
        grey = tuple(pictures.read_grey(f) for f in files)
        # pictures of several sizes do not explain each other, and each is one all the same
        contiguous = contiguous and len({g.shape for g in grey}) == 1
        return HeadVolume(False, None, grey, spacing, positions if contiguous else None, thickness, contiguous)
    slices = [pictures.read_hu(f) for f in files]
    shapes = {s.shape for s in slices}
    if len(shapes) > 1:
        raise CaseUnreadable(f"16-bit slices of different sizes in one study: {sorted(shapes)[:3]}")
    hu, hu_range = opened_upwards(np.stack(slices))
    return HeadVolume(True, hu, (), spacing, positions, thickness, contiguous, hu_range)


def _read_dicom_pictures(files: Sequence[DicomFile]) -> HeadVolume:
    return HeadVolume(False, grey=tuple(dicom_slices.read_picture(f) for f in files))
