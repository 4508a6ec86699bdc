"""The training step on one batch of simulated slices: it overfits in seconds, and its settings refuse nonsense."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.bloodnet.augment import augmented, exported
from models.bloodnet.pool import IGNORE, built_in, is_development
from models.bloodnet.settings import from_command_line
from models.bloodnet.train import (
    SMOKE,
    Batch,
    Settings,
    batch_of,
    choose,
    hardest,
    known_logits,
    loss_of,
    main,
    rate,
    starting_weights,
)
from triage_node.detection.preprocess import channels, network_input
from triage_node.networks.bloodnet import BloodNet


def _batch() -> Batch:
    """Four discs of brain in rings of bone, two with a clot. Shape: picture (4, 4, 96, 96)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96] - 47.5
    radius = np.hypot(x, y)
    head = np.where(radius < 34, 30.0, np.where(radius < 42, 100.0, 0.0))
    hu = np.stack([head] * 4) + rng.normal(0, 2, (4, 96, 96))
    label = np.zeros((4, 96, 96), np.uint8)
    for i, (cx, cy) in enumerate(((-12, 5), (15, -8))):
        clot = np.hypot(x - cx, y - cy) < 6
        hu[i][clot] += 35
        label[i][clot] = 1
    hu = hu.astype(np.float32)
    types = torch.zeros(4, 6)
    types[:2, :2] = 1
    no, yes = torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
    return Batch(torch.from_numpy(channels(hu, hu, hu, 30.0)), torch.from_numpy(label), types, sure=yes, real=no)


def test_one_batch_is_overfitted_in_mask_and_class():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batch = _batch()
    net = BloodNet()
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3)
    first = None
    for _ in range(90):
        loss, _ = loss_of(net, batch)
        first = first or loss.item()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        by_extent, by_picture, mask = net.heads(batch.picture)
    assert loss.item() < 0.3 * first
    logits = (by_extent + by_picture)[:, 0] / 2
    assert logits[:2].min() > 1 > -1 > logits[2:].max()
    found, truth = mask[:, 0] > 0, batch.label > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85


def test_ignored_pixels_change_no_loss():
    torch.manual_seed(0)
    batch = _batch()
    net = BloodNet().eval()
    batch.label[3, 20:30, 20:30] = 255
    heads = net.heads
    with torch.no_grad():
        before = loss_of(net, batch)[0]
        net.heads = lambda p: (*heads(p)[:2], heads(p)[2].index_put(
            (torch.tensor(3), torch.tensor(0), torch.tensor(25), torch.tensor(25)), torch.tensor(9.0)))  # fmt: skip
        after = loss_of(net, batch)[0]
    assert after == pytest.approx(before.item(), rel=1e-5)


def test_bleed_that_left_the_picture_teaches_no_head():
    torch.manual_seed(0)
    batch = _batch()
    net = BloodNet().eval()
    pushed_out = replace(batch, sure=torch.tensor([False, True, True, True]))
    wrong = replace(pushed_out, types=1 - batch.types[[0, 0, 0, 0]] * torch.tensor([1.0, 0, 0, 0])[:, None])
    wrong.types[1:] = batch.types[1:]
    with torch.no_grad():
        assert loss_of(net, pushed_out)[0] == pytest.approx(loss_of(net, wrong)[0].item(), rel=1e-6)


@pytest.mark.parametrize("pictures", [0.0, 1.0])
def test_augmentation_moves_picture_and_label_together(pictures):
    rng = np.random.default_rng(3)
    hu = torch.full((8, 3, 192, 192), 30.0)
    hu[:, :, 60:90, 100:140] = 60.0
    label = torch.zeros(8, 192, 192, dtype=torch.uint8)
    label[:, 60:90, 100:140] = 4
    moved, mask, tissue = augmented(hu, label, np.full(8, 30, np.float32), rng, pictures)
    assert moved.shape == hu.shape
    assert set(mask.unique().tolist()) == {0, 4}
    for i in range(8):
        assert moved[i, 1][mask[i] == 4].median() > moved[i, 1][mask[i] == 0].median() + 4
        assert abs(float(tissue[i] - moved[i, 1][(mask[i] == 0) & (moved[i, 1] > 3)].median())) < 14
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 100


def test_exported_picture_is_the_same_for_a_seed_and_keeps_bone_white():
    hu = np.full((3, 192, 192), 32, np.float32)
    hu[:, 40:50] = 100
    one, two = (exported(hu.copy(), 32.0, True, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one[0], two[0])
    assert one[1] == two[1]
    assert one[0][:, 40:50].mean() > one[0][:, 60:].mean() + 20


def test_batch_is_half_positive_and_never_from_development():
    pool = built_in(1)
    pool.index_for_training()
    rng = np.random.default_rng(0)
    for _ in range(20):
        chosen = choose(pool, rng, Settings())
        assert pool.positive[chosen].tolist() == [True] * 4 + [False] * 4
        assert not any(is_development(pool.studies[pool.study_of[i]]["patient"]) for i in chosen)
    pool.known_logit[pool.index["real"][1]] = -9
    hardest = pool.index["real"][1][0]
    pool.known_logit[hardest] = 9
    only_real = Settings(real=1, mirrored=0, template=0, procedural=0, mining=400)
    assert hardest in choose(pool, rng, only_real)[4:]


def test_positives_are_told_apart_by_what_was_drawn():
    pool = built_in(1)
    bleeding = [s for s in pool.studies if s["kinds"] == ["sdh"] and not is_development(s["patient"])]
    bleeding[0]["facts"] = '[{"kind": "sdh", "subtype": "chronic"}]'
    pool.index_for_training()
    by_look = pool.index[bleeding[0]["origin"]][0]
    assert by_look["sdh chronic"].tolist() == [bleeding[0]["start"] + i for i in range(2, 6)]
    assert not set(by_look["sdh chronic"]) & set(by_look.get("sdh", []))


def test_plane_between_slices_lies_on_a_line_and_takes_the_labels_of_the_nearer_one():
    pool = built_in(1)
    study = pool.studies[2]
    heights = np.arange(8, dtype=np.uint8)[:, None, None]
    here = slice(study["start"], study["stop"])
    pool.pictures[here], pool.labels[here] = 20 + 10 * heights, heights
    rng = np.random.default_rng(4)
    tilted = 0
    for _ in range(40):
        hu, label = pool.resliced(study["start"] + 4, rng)
        height = (2 * hu - 20) / 10
        assert np.array_equal(label, np.round(height[1]))
        assert np.ptp(height, axis=2).max() < 1e-5
        inner = (height > 1e-3) & (height < 7 - 1e-3)
        inside = inner[0] & inner[1] & inner[2]
        assert np.allclose(np.diff(height, axis=0)[:, inside], 1, atol=1e-5)
        assert abs(height[1, 95:97].mean() - 4) <= 0.51
        tilted += bool(np.ptp(height[1]) > 0.05)
    assert 10 < tilted < 30
    assert height.min() >= 0
    assert height.max() <= 7


def test_plane_that_meets_blood_or_leaves_it_is_told_so():
    pool = built_in(1)
    pool.index_for_training()
    rng = np.random.default_rng(0)
    bleeding = next(s for s in pool.studies if s["kinds"])
    beside = bleeding["start"] + 1  # blood is in slices 2 to 5
    assert pool.negative[beside]
    batch = batch_of(pool, [beside] * 200, rng, replace(Settings(), pictures=0.0))
    became = batch.types[:, 0] > 0
    assert 5 < int(became.sum()) < 80
    assert all(not (batch.label[i] > 0).any() for i in np.flatnonzero(~became & batch.sure))
    pool.labels[beside + 1] = IGNORE
    unknown = ~batch_of(pool, [beside] * 200, rng, replace(Settings(), pictures=0.0)).sure
    assert 5 < int(unknown.sum()) < 80


def test_faint_bleed_pulls_as_hard_as_a_large_one_and_unknown_pixels_do_not():
    mask = torch.full((2, 40, 40), -7.0, requires_grad=True)
    blood, known = torch.zeros(2, 40, 40, dtype=torch.bool), torch.ones(2, 40, 40, dtype=torch.bool)
    blood[0, :30, :30], blood[1, :4, :4] = True, True
    known[1, 20:] = False
    hardest(mask, blood, known).backward()
    large, small = ((mask.grad[i] * blood[i]).sum().item() for i in range(2))
    assert small == pytest.approx(large, rel=1e-4)
    assert small < -0.4
    assert mask.grad[1, 20:].abs().max() == 0


def test_smoke_run_writes_a_checkpoint_that_says_where_it_comes_from_and_goes_on(tmp_path):
    torch.set_num_threads(1)
    short = replace(Settings(), **{**SMOKE, "smoke": 1, "run": str(tmp_path), "minutes": 0.02})
    main(short)
    first = torch.load(tmp_path / "last.pt", weights_only=True)
    assert first["step"] >= 1
    assert first["settings"]["seed"] == short.seed
    assert first["data"] == {"built in": str(short.seed)}
    assert len(first["revision"]) in (0, 40)
    assert not set(first["splits"]["development_patients"]) & set(first["splits"]["trained_patients"])
    first["known_logit"][:] = 7.5  # of most slices nothing is known after a step or two
    torch.save(first, tmp_path / "last.pt")
    main(replace(short, minutes=first["elapsed"] / 60 + 0.01))  # however slow the machine, time is left for a step
    second = torch.load(tmp_path / "last.pt", weights_only=True)
    assert second["step"] > first["step"]
    assert (second["known_logit"] == 7.5).float().mean() > 0.5


def test_start_from_weights_reads_the_pool_first(tmp_path):
    torch.set_num_threads(1)
    torch.manual_seed(2)
    weights = BloodNet().state_dict()
    torch.save({"average": weights}, tmp_path / "start.pt")
    short = replace(Settings(), **{**SMOKE, "smoke": 1, "run": str(tmp_path / "run"), "minutes": 0.0})
    main(replace(short, start=str(tmp_path / "start.pt")))
    known = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["known_logit"].numpy()
    net = BloodNet()
    net.load_state_dict(weights)
    pool = built_in(short.seed)
    assert np.array_equal(known, known_logits(net, pool))
    ours = np.array([is_development(s["patient"]) for s in pool.studies])[pool.study_of]
    assert not known[ours].any()
    assert known[~ours].all()
    third = pool.studies[3]
    with torch.no_grad():
        picture = torch.from_numpy(network_input(pool.hu(third), third["tissue_hu"]))
        logits = net.eval()(picture)[1][:, 0].numpy()
    assert known[third["start"] : third["stop"]] == pytest.approx(np.repeat(logits[[2, 6]], 4), abs=1e-4)


def test_what_a_bundle_carries_can_be_started_from(tmp_path):
    net = BloodNet()
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, tmp_path / "model.safetensors")
    torch.save({"average": net.state_dict()}, tmp_path / "last.pt")
    of_bundle, of_run = starting_weights(tmp_path / "model.safetensors"), starting_weights(tmp_path / "last.pt")
    assert of_bundle.keys() == of_run.keys() == net.state_dict().keys()
    assert all(torch.equal(of_bundle[k], of_run[k]) for k in of_run)


def test_rate_warms_up_then_falls_to_nothing_by_the_clock():
    s = Settings(minutes=10, peak_rate=1e-3, warm_up_steps=100)
    assert rate(s, 0, 0) < 5e-5
    assert rate(s, 1000, 0) == pytest.approx(1e-3 + 1e-5)
    assert rate(s, 1000, 300) == pytest.approx(5e-4 + 1e-5)
    assert rate(s, 1000, 600) == pytest.approx(1e-5)


@pytest.mark.parametrize("argument", ["--batchh=8", "--batch=eight", "batch=8", "--batch"])
def test_setting_that_does_not_exist_or_has_the_wrong_type_is_refused(argument):
    with pytest.raises(SystemExit):
        from_command_line(Settings(), [argument])


def test_switch_may_stand_alone():
    assert from_command_line(Settings(), ["--smoke"]).smoke == 1
    assert from_command_line(replace(Settings(), smoke=1), ["--smoke"]).smoke == 1


def test_setting_given_replaces_its_default_only():
    found = from_command_line(Settings(), ["--batch=4", "--peak_rate=0.001"])
    assert (found.batch, found.peak_rate, found.seed) == (4, 0.001, Settings().seed)
