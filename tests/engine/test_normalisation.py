from __future__ import annotations

import pytest
import torch

from napari_unet_tumour.engine.normalisation import NORMALISATIONS, TAIL, _quantile, as_in


@pytest.mark.parametrize("count", [1, 2, 3, 99, 100, 4096, 16384])
@pytest.mark.parametrize("share", [TAIL, 1 - TAIL, 0.5])
def test_tails_are_quantiles_to_the_bit(count: int, share: float) -> None:
    values = 1000 * torch.randn(3, 2, count, generator=torch.Generator().manual_seed(count))
    assert torch.equal(_quantile(values, share), torch.quantile(values, share, dim=2))


@pytest.mark.parametrize("name", sorted(NORMALISATIONS))
def test_a_part_is_normalised_as_the_whole(name: str) -> None:
    whole = 100 * torch.rand(1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = NORMALISATIONS[name](whole)[..., 10:30, 5:40]
    assert torch.equal(as_in(name, whole)(whole[..., 10:30, 5:40]), expected)
