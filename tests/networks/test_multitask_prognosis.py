"""Labels, heads and the paper's own configuration of the multi-task network."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from triage_node.networks.multitask_prognosis import (
    LOSS_WEIGHTS,
    PAPER_SHAPE,
    MultitaskNet,
    PaperNet,
    cumulative,
    decoded,
    from_authors,
    gcs_class,
    paper_picture,
)
from triage_node.networks.residual import MAP, PICTURE

PAPER = Path(__file__).resolve().parents[2] / "models" / "multitask_prognosis" / "configs" / "paper.json"


def test_gcs_classes_are_cut_as_in_the_paper():
    assert [gcs_class(g) for g in (15, 13, 12, 9, 8, 3)] == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match="3 to 15"):
        gcs_class(2)


def test_cumulative_codes_are_those_of_the_paper_and_decode_back():
    codes = cumulative(torch.tensor([0, 1, 2]))
    assert codes.tolist() == [[0, 0], [1, 0], [1, 1]]
    assert decoded((codes - 0.5) * 8).tolist() == [0, 1, 2]


def test_small_network_gives_one_logit_for_outcome_and_age_two_for_gcs_and_the_maps():
    said = MultitaskNet().eval()(torch.zeros(2, 1, *PICTURE))
    assert [tuple(t.shape) for t in said] == [(2, 1), (2, 2), (2, 1), (2, 32, *MAP)]
    assert float(said.maps.min()) >= 0


def test_shrunk_pictures_give_what_whole_ones_do():
    net = MultitaskNet().eval()
    picture = torch.randn(1, 1, *PICTURE)
    whole, shrunk = net(picture), net.of_shrunk(net.trunk.shrink(picture))
    assert torch.allclose(whole.gcs, shrunk.gcs)


@pytest.fixture(scope="module")
def paper() -> PaperNet:
    torch.manual_seed(0)
    parser = ConfigParser(json.loads(PAPER.read_text()))
    return parser.get_parsed_content("network_def").eval()


def test_paper_configuration_runs_at_a_small_size(paper: PaperNet):
    with torch.no_grad():
        said = paper(torch.zeros(1, 1, 32, 64, 64))
    assert [tuple(t.shape) for t in said[:3]] == [(1, 1), (1, 2), (1, 1)]
    assert said.maps.shape[1] == 1024
    assert json.loads(PAPER.read_text())["loss_weights"] == LOSS_WEIGHTS


def test_paper_picture_has_the_papers_shape_window_and_padding():
    hu = torch.zeros(28, 96, 80)
    hu[:, 20:76, 15:65] = 57.5
    hu[8:12, 30:40, 30:40] = 3000
    picture = paper_picture(hu)
    assert tuple(picture.shape) == (1, *PAPER_SHAPE)
    assert float(picture.min()) == 0
    assert float(picture.max()) == 1
    assert float(picture[0, :6].max()) == 0, "six slices of zeros lie below a stack of 28"
    assert float(picture[0, 30, 150, 150]) == pytest.approx(0.5)


def test_paper_picture_keeps_left_and_front_apart_as_rotation_and_flip_do():
    hu = torch.zeros(40, 301, 301)
    hu[:, :150, :100] = 100  # front, and the picture's left (the patient's right)
    picture = paper_picture(hu)[0, 20]
    corners = {(r, c): float(picture[r, c]) for r in (20, 280) for c in (20, 280)}
    assert sum(corners.values()) == 1
    # NIfTI (x, y) in RAS+: the corner is at high x, high y; k = 3 takes (x, y) to (y, n - x), the flip back to (y, x)
    assert corners[(280, 280)] == 1


# ---- the authors' weights: a state dict of that layout, written here -----------------------------------------------------


class _Published(nn.Module):
    """Another module with the published layout: a DenseNet under a name, heads as ReLU, pooling, flatten, linear."""

    def __init__(self, source: PaperNet) -> None:
        super().__init__()
        self.base_model = source.trunk

        def head(linear: nn.Linear) -> nn.Sequential:
            return nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), linear)

        self.image_prognosis, self.head_gcs, self.head_age = (
            head(source.prognosis),
            head(source.gcs),
            head(source.age),
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = self.base_model(x)
        return [head(features.clone()) for head in (self.image_prognosis, self.head_gcs, self.head_age)]


def test_authors_weights_are_read_from_a_file_and_give_the_same_logits(paper: PaperNet):
    published = _Published(paper).eval()
    file = io.BytesIO()
    torch.save({f"module.{k}": v for k, v in published.state_dict().items()}, file)
    file.seek(0)
    net = PaperNet().eval()
    net.load_state_dict(from_authors(torch.load(file, weights_only=True)))
    picture = torch.rand(1, 1, 32, 48, 48)
    with torch.no_grad():
        expected, found = published(picture), net(picture)
    for e, f in zip(expected, found[:3], strict=True):
        assert torch.allclose(e, f, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {k: v for k, v in s.items() if "norm5" not in k}, "lack"),
        (lambda s: {**s, "head_sex.3.weight": torch.zeros(1, 1024)}, "neither of the trunk"),
        (lambda s: {**s, "head_age.3.weight": torch.zeros(3, 1024)}, "needs"),
        (lambda s: {k: v for k, v in s.items() if "conv0" not in k}, "one DenseNet"),
        (lambda s: {**s, "base_model.features.extra.weight": torch.zeros(1)}, "unknown"),
    ],
)
def test_weights_of_another_layout_are_refused_by_name(paper: PaperNet, change, said: str):
    with pytest.raises(ValueError, match=said):
        from_authors(change(_Published(paper).state_dict()))


@pytest.mark.slow
def test_paper_configuration_runs_at_full_size(paper: PaperNet):
    with torch.no_grad():
        said = paper(torch.zeros(1, 1, *PAPER_SHAPE))
    assert tuple(said.gcs.shape) == (1, 2)
