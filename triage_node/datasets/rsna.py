"""RSNA intracranial hemorrhage 2019 (Flanders 2020, doi 10.1148/ryai.2020190211). PAPERS.md 7.1.

`stage_2_train.csv` (`ID,Label`; ID = `ID_<9 hex>_<subtype>`) and `stage_2_train/ID_<9 hex>.dcm`. The table does not group
slices: patient and study stand in the headers, so every header is read once when the folder is opened.
"""

from __future__ import annotations

import csv
import logging
import re
from collections import defaultdict
from functools import partial

from triage_node.datasets import dicom_slices, words
from triage_node.datasets.data_set import DataSet, Ledger, closed
from triage_node.datasets.dicom_slices import DicomFile
from triage_node.datasets.folder import Folder
from triage_node.domain.case import Case, Labels
from triage_node.domain.errors import CaseUnreadable, DataSetError

log = logging.getLogger(__name__)

NAME, FAMILY = "rsna-ich-2019", "rsna"
LICENCE = "non-commercial research and education, with citation (RSNA 2019 challenge rules)"
TABLE = re.compile(r"(?:^|/)stage_[12]_train\.csv$", re.IGNORECASE)
SUBTYPES = {
    "epidural": "edh",
    "intraparenchymal": "iph",
    "intraventricular": "ivh",
    "subarachnoid": "sah",
    "subdural": "sdh",
}
KEYS = (*SUBTYPES.values(), "any")
ROW = re.compile(r"(ID_[0-9a-z]+)_([a-z]+)$", re.IGNORECASE)
REPORT_EACH = 50_000


def find_table(folder: Folder) -> str | None:
    return next((f for f in folder.files if TABLE.search(f)), None)


def open_rsna(folder: Folder) -> DataSet:
    """Raises DataSetError for a table of another form, and for two different labels of one image."""
    name = find_table(folder)
    if name is None:
        raise DataSetError(f"{NAME}: expected stage_2_train.csv; {folder.found_words()}")
    ledger, notes = Ledger(), list[str]()
    labels, doubled = _labels(folder, name)
    if doubled:
        notes.append(f"{doubled} rows of {name} stand there twice with the same label and count once")
    by_series: defaultdict[tuple[str, str], list[DicomFile]] = defaultdict(list)
    lost: defaultdict[str, list[dict[str, int]]] = defaultdict(list)
    files = folder.ending(".dcm")
    ledger.see(*files)
    seen: set[str] = set()
    for count, file_name in enumerate(files, start=1):
        image = file_name.split("/")[-1].split(".")[0]
        if count % REPORT_EACH == 0:
            log.info("rsna headers read=%d of=%d", count, len(files))
        if image not in labels:
            test = "_test" in file_name
            ledger.skip(file_name, "the test images have no labels" if test else f"not named in {name}")
            continue
        if image in seen:
            ledger.skip(file_name, "an image of this name was read from another folder")
            continue
        seen.add(image)
        try:
            file = dicom_slices.read_header(folder.at(file_name), file_name)
        except CaseUnreadable as error:
            ledger.skip(file_name, str(error))
            if isinstance(error, dicom_slices.CutShort):
                lost[error.header.study_instance_uid].append(labels[image])
            continue
        by_series[file.header.study_instance_uid, file.header.series_instance_uid].append(file)
    for image in labels.keys() - seen:
        ledger.skip(f"{name} ({image})", "the image is not there")
    studies = defaultdict[str, int](int)
    for study, _ in by_series:
        studies[study] += 1
    cases = []
    for (study, series), members in by_series.items():
        case = _case(study if studies[study] == 1 else f"{study}/{series}", study, members, labels, lost[study])
        cases.append(case)
        ledger.use(*case.slice_ids)
    return closed(NAME, folder.path, LICENCE, cases, ledger, notes, FAMILY)


def _case(
    name: str, study: str, members: list[DicomFile], labels: dict[str, dict[str, int]], lost: list[dict[str, int]]
) -> Case:
    ordered = dicom_slices.in_order(members) or sorted(
        members, key=lambda f: (dicom_slices.position_mm(f) or 0.0, f.name)
    )
    told = [labels[f.name.split("/")[-1].split(".")[0]] for f in ordered]
    slice_labels = tuple(t.get("any") for t in told)
    subtypes = tuple({k: v for k, v in t.items() if k != "any"} for t in told)
    whole = Labels(slice_labels, words.any_of(slice_labels), subtypes, words.merged_subtypes(subtypes))
    first = ordered[0]
    patient = first.header.patient_id or study
    return Case(
        source=NAME,
        patient_id=patient,
        study_id=name,
        slice_ids=tuple(f.name for f in ordered),
        labels=words.of_whole_study(whole, [(t.get("any"), {k: v for k, v in t.items() if k != "any"}) for t in lost]),
        load=partial(dicom_slices.read_stack, ordered, False, True),
        scanner=first.made_by.scanner,
        kernel=first.made_by.kernel,
        software=first.made_by.software,
        thickness_mm=first.header.slice_thickness_mm,
        licence=LICENCE,
        family=FAMILY,
        overlap_keys=(f"rsna patient {patient}", f"rsna study {study}"),
    )


def _labels(folder: Folder, name: str) -> tuple[dict[str, dict[str, int]], int]:
    """image -> subtype -> label, and how many rows are exact repetitions. 4.5 million rows: read as a stream."""
    labels: dict[str, dict[str, int]] = {}
    doubled = 0
    keys = {**SUBTYPES, "any": "any"}
    with folder.at(name).open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = csv.reader(file)
        try:
            header = [c.strip() for c in next(lines, [])]
            if header != ["ID", "Label"]:
                raise DataSetError(f"{name}: expected the columns 'ID', 'Label'; found {', '.join(map(repr, header))}")
            for line in lines:
                if not line:
                    continue
                found = ROW.match(line[0].strip())
                key = keys.get(found[2].casefold()) if found else None
                if found is None or key is None or len(line) != 2 or line[1].strip() not in ("0", "1"):
                    raise DataSetError(
                        f"{name} line {lines.line_num}: {','.join(line)[:60]!r} is not like ID_000012eaf_epidural,0"
                    )
                value = int(line[1])
                image = labels.setdefault(found[1], {})
                if key in image:
                    if image[key] != value:
                        raise DataSetError(f"{name} line {lines.line_num}: {line[0]} has another label further up")
                    doubled += 1
                image[key] = value
        except csv.Error as error:
            raise DataSetError(f"{name}: not a table ({error})") from error
    for image, told in labels.items():
        if "any" in told and told["any"] == 0 and any(told.get(k) for k in SUBTYPES.values()):
            raise DataSetError(f"{name}: {image} is labelled any 0, and a subtype 1")
    return labels, doubled
