from __future__ import annotations

import json
from pathlib import Path

import pytest

from triage_node.datasets.data_set import DataSet
from triage_node.datasets.splits import Split, load_split, patient_name, split_by_rule, split_by_share
from triage_node.domain.case import Case, HeadVolume, Labels
from triage_node.domain.errors import DataSetError


def no_pixels() -> HeadVolume:
    raise AssertionError("a split reads no pixels")


def data_set(name: str, patients: list[str], family: str = "", keys: str = "", studies: int = 1) -> DataSet:
    """keys: a prefix; "rsna patient " gives every case the overlap key `rsna patient <its id>`."""
    cases = [
        Case(
            name,
            p,
            f"{p}-{s}",
            (f"{p}-{s}.dcm",),
            Labels((i % 3 // 2,), i % 3 // 2),
            no_pixels,
            family=family or name,
            overlap_keys=(f"{keys}{p}",) if keys else (),
        )
        for i, p in enumerate(patients)
        for s in range(studies)
    ]
    return DataSet(name, Path(), "", family or name, cases, [], len(cases))


def parts_of(split: Split) -> dict[str, str]:
    return {patient: part for part, patients in split.parts.items() for patient in patients}


def test_studies_of_one_patient_stay_together_and_shares_hold_in_both_classes() -> None:
    data = data_set("hospital", [f"p{i}" for i in range(300)], studies=2)
    split = split_by_share([data], {"train": 0.8, "validation": 0.2}, seed=1)
    assert [len(split.parts[p]) for p in ("train", "validation")] == [240, 60]
    train, validation = split.cases([data], "train"), split.cases([data], "validation")
    assert len(train) + len(validation) == 600
    assert not {c.patient_id for c in train} & {c.patient_id for c in validation}
    assert sum(c.labels.study_label or 0 for c in validation) == 40


def test_the_split_does_not_depend_on_the_order_of_cases_but_on_the_seed() -> None:
    names = [f"p{i}" for i in range(60)]
    one = data_set("hospital", names)
    other = data_set("hospital", names)
    other.cases.reverse()
    shares = {"a": 0.5, "b": 0.5}
    assert split_by_share([one], shares, 1).digest == split_by_share([other], shares, 1).digest
    assert parts_of(split_by_share([one], shares, 1)) != parts_of(split_by_share([one], shares, 2))


def test_a_patient_of_rsna_and_of_bhsd_is_never_parted() -> None:
    names = [f"ID_{i}" for i in range(100)]
    rsna = data_set("rsna-ich-2019", names, "rsna", "rsna patient ")
    bhsd = data_set("bhsd", names[::3], "rsna", "rsna patient ")
    for seed in range(5):
        where = parts_of(split_by_share([rsna, bhsd], {"train": 0.7, "test": 0.3}, seed))
        assert all(where[f"bhsd/{n}"] == where[f"rsna-ich-2019/{n}"] for n in names[::3])
        assert set(where.values()) == {"train", "test"}


@pytest.mark.parametrize("nameless", ["hemseg", "mbh-seg"])
def test_a_member_of_a_family_that_names_no_case_holds_the_whole_family_in_one_part(nameless: str) -> None:
    rsna = data_set("rsna-ich-2019", [f"ID_{i}" for i in range(30)], "rsna", "rsna patient ")
    other = data_set(nameless, ["001", "002"])
    ours = data_set("hospital", [f"p{i}" for i in range(30)])
    split = split_by_share([rsna, other, ours], {"train": 0.5, "test": 0.5}, 3)
    where = parts_of(split)
    assert len({p for n, p in where.items() if not n.startswith("hospital/")}) == 1
    assert len({p for n, p in where.items() if n.startswith("hospital/")}) == 2


def test_both_versions_of_ct_ich_meet_in_one_part() -> None:
    old = data_set("ct-ich-1.0.0", ["049", "050", "051", "052"], "ct-ich", "ct-ich ")
    new = data_set("ct-ich-1.3.1", ["049", "050", "051", "052"], "ct-ich", "ct-ich ")
    where = parts_of(split_by_share([old, new], {"train": 0.5, "test": 0.5}, 0))
    assert all(where[f"ct-ich-1.0.0/{n}"] == where[f"ct-ich-1.3.1/{n}"] for n in ("049", "050", "051", "052"))


def test_a_rule_that_parts_what_belongs_together_is_refused() -> None:
    rsna = data_set("rsna-ich-2019", ["ID_1", "ID_2"], "rsna", "rsna patient ")
    bhsd = data_set("bhsd", ["ID_1"], "rsna", "rsna patient ")
    with pytest.raises(DataSetError, match="one person or one family"):
        split_by_rule([rsna, bhsd], lambda c: c.source, "by data set")


def test_a_rule_on_ids_gives_its_parts() -> None:
    data = data_set("phe-sich-ct-ids", [f"{i:04d}" for i in range(20)])
    split = split_by_rule([data], lambda c: "judge" if c.patient_id[-1] in "38" else "train", "ids ending in 3 or 8")
    assert split.parts["judge"] == tuple(f"phe-sich-ct-ids/{i:04d}" for i in (3, 8, 13, 18))


def test_a_saved_split_comes_back_the_same_and_an_edited_one_does_not(tmp_path: Path) -> None:
    data = data_set("hospital", [f"p{i}" for i in range(10)])
    split = split_by_share([data], {"train": 0.5, "test": 0.5}, 0)
    path = tmp_path / "split.json"
    split.save(path)
    assert load_split(path, [data]) == split
    told = json.loads(path.read_text())
    told["parts"]["train"].append(told["parts"]["test"].pop())
    path.write_text(json.dumps(told))
    with pytest.raises(DataSetError, match="edited by hand"):
        load_split(path, [data])


def test_data_that_changed_since_is_refused(tmp_path: Path) -> None:
    names = [f"p{i}" for i in range(10)]
    data = data_set("hospital", names)
    path = tmp_path / "split.json"
    split_by_share([data], {"train": 0.5, "test": 0.5}, 0).save(path)
    with pytest.raises(DataSetError, match="hospital: its labels changed"):
        load_split(path, [data_set("hospital", [*names, "p10"])])
    with pytest.raises(DataSetError, match="cq500: only the data has it"):
        load_split(path, [data, data_set("cq500", ["1"])])
    with pytest.raises(DataSetError, match="hospital: only the split has it"):
        load_split(path, [])


def test_a_patient_in_two_parts_is_refused() -> None:
    data = data_set("hospital", ["p1"])
    name = patient_name(data.cases[0])
    with pytest.raises(DataSetError, match="is in a and in b"):
        Split({"a": (name,), "b": (name,)}, {"hospital": data.digest()}, "by hand").verify([data])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"parts": {"a": 3}, "data": {}, "made_by": "", "version": 1}'])
def test_a_file_that_is_no_split_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(DataSetError, match=r"split\.json: not a split"):
        load_split(path, [])


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        split_by_share([data_set("hospital", ["p"])], {"train": 0.8}, 0)


def test_two_data_sets_of_one_name_are_refused() -> None:
    with pytest.raises(DataSetError, match="two data sets are called 'plain'"):
        split_by_share([data_set("plain", ["a"]), data_set("plain", ["b"])], {"train": 1.0}, 0)
