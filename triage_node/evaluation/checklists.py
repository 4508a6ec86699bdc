"""What CLAIM (Mongan 2020) and TRIPOD+AI (BMJ 2024) ask for, answered from the report where it can be.

Topics are named in our words and numbered as published; the published checklists decide. An answer is text from the report,
BY_SITE for what only those who gathered the data know, or NOT_HERE for what such a report is not about.
"""

from __future__ import annotations

from typing import Any

BY_SITE = "To be given by the site."
NOT_HERE = "Not applicable to a test of a finished model."
CARD = "See the bundle's card (docs/README.md) and metadata.json."

Item = dict[str, str]


def claim(report: dict[str, Any]) -> list[Item]:
    """The 42 items of CLAIM."""
    b, d = report["bundle"], report["data"]
    answers = {
        1: ("title says what kind of method", f"Deep learning model {b['name']} {b['version']}, tested on {d['name']}."),
        2: ("structured summary", "The first section of this report."),
        3: ("background and intended use", b["intended_use"]),
        4: ("aims and hypotheses", "How well the stored operating point finds intracranial hemorrhage on this set."),
        5: ("prospective or retrospective", BY_SITE),
        6: ("goal of the study", "Test of a finished model on data that it was not chosen by."),
        7: ("sources of the data", f"Folder {d['name']}, read as {d['layout']}; SHA-256 {d['digest'][:16]}."),
        8: ("who was eligible", BY_SITE),
        9: ("preprocessing", f"The node's own, version {b['preprocessing_version']}, the same as in training."),
        10: ("parts of the data that were used", _used(report)),
        11: ("definitions of the data elements", "Hemorrhage yes or no by slice or study, subtype and mask where given."),
        12: ("de-identification", BY_SITE),
        13: ("missing data", _skipped(report)),
        14: ("reference standard", BY_SITE),
        15: ("why this reference standard", BY_SITE),
        16: ("who annotated, how qualified", BY_SITE),
        17: ("annotation tools", BY_SITE),
        18: ("agreement between annotators", BY_SITE),
        19: ("size of the sample and why", f"{_counts(report)} Nothing was computed beforehand by this command."),
        20: ("how data were divided", "Nothing is trained or chosen here: the whole set is the test set."),
        21: ("level at which parts are disjoint", "Patient. Whether the set shares patients with training: " + BY_SITE),
        22: ("model in detail", CARD),
        23: ("software and versions", f"Triage Node {report['made']['version']}; {b['runtime']}."),
        24: ("initialisation of parameters", NOT_HERE + " " + CARD),
        25: ("training in detail", NOT_HERE + " " + CARD),
        26: ("how the final model was chosen", NOT_HERE + " " + CARD),
        27: ("ensembles", CARD),
        28: ("measures of performance", "AUC, sensitivity, specificity, PPV, calibration, overlap and volume, below."),
        29: ("uncertainty", f"95 % intervals; {report['made']['resamples']} resamples of patients, shares by Wilson with clusters."),
        30: ("robustness", report["stress"].get("words") or report["stress"]["reason"]),
        31: ("explanation of answers", "Mask and heat map of each study: `triage-node explain`."),
        32: ("external validation", "This set is external if the site says so. " + BY_SITE),
        33: ("flow of patients", _flow(report)),
        34: ("demographics and clinical facts by part", BY_SITE),
        35: ("performance on the test set", _performance(report)),
        36: ("estimates with their precision", "Every AUC and share stands with its 95 % interval."),
        37: ("failures", "Worst cases as pictures, below."),
        38: ("limits, bias, how far it generalises", report["limits"]),
        39: ("what it means for practice", "Not for diagnostic use; a flag only changes the order of a list."),
        40: ("registration", BY_SITE),
        41: ("where the full protocol is", "DESIGN.md section 4 and deploy/OPERATIONS.md; the site's own: " + BY_SITE),
        42: ("funding", BY_SITE),
    }  # fmt: skip
    return [_item(n, topic, answer) for n, (topic, answer) in answers.items()]


def tripod_ai(report: dict[str, Any]) -> list[Item]:
    """The 27 items of TRIPOD+AI."""
    b = report["bundle"]
    answers = {
        1: ("title", f"Evaluation of the prediction model {b['name']} {b['version']}."),
        2: ("abstract", "The first section of this report."),
        3: ("background, users, inequalities", b["intended_use"] + " Known inequalities: " + BY_SITE),
        4: ("objectives", "Evaluation of a finished model, no development."),
        5: ("source and dates of the data", f"Folder {report['data']['name']}; dates: {BY_SITE}"),
        6: ("setting, eligibility, treatments", BY_SITE),
        7: ("preparation of the data", f"The node's own preprocessing, version {b['preprocessing_version']}."),
        8: ("outcome and who assessed it", "Intracranial hemorrhage on the image. Assessment: " + BY_SITE),
        9: ("predictors", "The pixels of a non-contrast head CT; no clinical facts."),
        10: ("sample size", _counts(report)),
        11: ("missing data", _skipped(report)),
        12: ("methods of analysis", "AUC with bootstrap by patient; shares by Wilson with clusters; slope, Brier, ECE."),
        13: ("class imbalance", "Nothing is resampled; PPV is recomputed for stated shares of positives."),
        14: ("fairness", _fairness(report)),
        15: ("output of the model", "A probability, a flag at the stored threshold, and \"not sure\" where stored."),
        16: ("differences between development and test", report["limits"]),
        17: ("ethical approval", BY_SITE),
        18: ("funding, conflicts, protocol, registration, data, code", "Code and weights: this repository. The rest: " + BY_SITE),
        19: ("involvement of patients and public", BY_SITE),
        20: ("participants and their flow", _flow(report)),
        21: ("model development", NOT_HERE + " " + CARD),
        22: ("full specification of the model", f"Weights with SHA-256 {b['digest'][:16]}. " + CARD),
        23: ("performance with intervals and in groups", _performance(report)),
        24: ("updating of the model", "None. `triage-node calibrate` drafts a shift of thresholds, apart from this report."),
        25: ("interpretation", "Beside published anchors, below; " + report["anchor_sentence"]),
        26: ("limitations", report["limits"]),
        27: ("use in care, poor input, expertise needed", "Input envelope and refusal: see the card and deploy/OPERATIONS.md."),
    }  # fmt: skip
    return [_item(n, topic, answer) for n, (topic, answer) in answers.items()]


def _item(number: int, topic: str, answer: str) -> Item:
    if answer.startswith(NOT_HERE):
        state = "not applicable"
    elif answer == BY_SITE:
        state = "by the site"
    else:
        state = "in part" if BY_SITE in answer else "answered"
    return {"item": str(number), "topic": topic, "answer": answer, "state": state}


def _counts(report: dict[str, Any]) -> str:
    parts = [
        f"{report[u]['n']} {w} with {report[u]['positives']} positive"
        for u, w in (("slice", "slices"), ("study", "studies"))
        if report[u]["n"]
    ]
    return (", ".join(parts) or "Nothing with a label") + f", {report['data']['patients']} patients."


def _used(report: dict[str, Any]) -> str:
    return f"All that could be read and had a label: {_counts(report)}"


def _skipped(report: dict[str, Any]) -> str:
    n, without = len(report["skipped"]), report["data"]["without_label"]
    return (
        f"{n} files or cases could not be read (listed), {without} answers have no label; none is counted as negative."
    )


def _fairness(report: dict[str, Any]) -> str:
    """Which groups the labels of this set let the report tell apart."""
    parts = {name for unit in report["strata"].values() for name, rows in unit.items() if rows}
    told = [g for g in ("age", "sex", "scanner", "kernel", "slice distance", "origin") if g in parts]
    silent = [g for g in ("age", "sex") if g not in parts]
    words = f"By {', '.join(told)} below, small groups marked." if told else "No groups are told apart."
    return f"{words} Not in the data: {', '.join(silent)}. {BY_SITE}" if silent else f"{words} Ethnic origin: {BY_SITE}"


def _flow(report: dict[str, Any]) -> str:
    d = report["data"]
    return f"{d['cases']} cases read, {len(report['skipped'])} skipped, {len(report['declined'])} that the node would decline, each with its reason."


def _performance(report: dict[str, Any]) -> str:
    words = []
    for unit in ("study", "slice"):
        auc = report[unit]["auc"]
        if auc is not None:
            words.append(f"{unit} AUC {auc:.3f}")
    return (", ".join(words) or "No AUC is defined on this set") + "; all figures below."
