"""The ablations differ in what their class head may see, and in nothing else."""

from __future__ import annotations

from dataclasses import replace

import torch

from models.bloodnet.ablate import SMOKE, VARIANTS, Settings, Variant, main, true_mask


def judged(name: str, picture: torch.Tensor, label: torch.Tensor) -> tuple[Variant, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    net = Variant(name).eval()
    net.given = true_mask(label)
    first, second, mask = net.heads(picture)
    return net, (first + second)[:, 0].sum(), mask


def test_gradient_of_the_class_reaches_the_mask_only_where_the_class_depends_on_it():
    picture = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    label = torch.zeros(1, 32, 32, dtype=torch.uint8)
    reached = {}
    for name in VARIANTS:
        net, logit, _ = judged(name, picture, label)
        if logit.requires_grad:
            logit.backward()
        reached[name] = net.mask.weight.grad is not None and bool(net.mask.weight.grad.abs().sum() > 0)
    assert reached == {
        "dependency": True, "without_map": False, "independent": False, "map_only": False, "true_map": False,
    }  # fmt: skip


def test_only_the_upper_bound_reads_the_true_mask():
    picture = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    empty, full = torch.zeros(1, 32, 32, dtype=torch.uint8), torch.ones(1, 32, 32, dtype=torch.uint8)
    with torch.no_grad():
        changed = {n: bool((judged(n, picture, empty)[1] - judged(n, picture, full)[1]).abs() > 1e-6) for n in VARIANTS}
    assert changed == {n: n == "true_map" for n in VARIANTS}


def test_smoke_run_gives_every_variant_a_row_and_a_paired_difference(tmp_path):
    torch.set_num_threads(1)
    found = main(replace(Settings(), **{**SMOKE, "smoke": 1, "out": str(tmp_path / "a.json"), "steps": 2}))
    names = {r["name"] for r in found}
    for name in VARIANTS:
        assert f"ablation_study_auc_{name}" in names
        assert (f"ablation_slice_auc_minus_dependency_{name}" in names) is (name != "dependency")
    assert (tmp_path / "a.json").exists()
