from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg
from threadpoolctl import threadpool_limits

from cache.errors import ParamsError
from stages.train import align
from stages.train.align import fit_cca
from stages.train.params import CcaSection


def pairs(n: int = 60, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Two views, 7 and 5 wide, of three hidden numbers, with noise and an offset."""
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((n, 3))
    image, text = (hidden @ rng.standard_normal((3, w)) + noise * rng.standard_normal((n, w)) + 4 for w in (7, 5))
    return image.astype(np.float32), text.astype(np.float32)


def section(dims: int = 5, ridge: float = 1e-3, power: float = 0.0) -> CcaSection:
    return CcaSection(dims=dims, ridge=ridge, power=power)


def regularised(values: np.ndarray, ridge: float) -> np.ndarray:
    """The covariance with ridge times its mean eigenvalue, those that are 0 for want of rows left out."""
    covariance = np.cov(values.T.astype(np.float64), bias=True)
    eigenvalues = np.sort(linalg.eigvalsh(covariance))[::-1][: min(len(values) - 1, values.shape[1])]
    return covariance + ridge * eigenvalues.mean() * np.eye(len(covariance))


@pytest.mark.parametrize("n", [60, 5])
def test_correlations_are_those_of_the_generalised_eigenproblem(n):
    image, text = pairs(n)
    ridge = 0.3
    cross = np.cov(image.T.astype(np.float64), text.T, bias=True)[:7, 7:]
    blocks = linalg.block_diag(regularised(image, ridge), regularised(text, ridge))
    joint = np.block([[np.zeros((7, 7)), cross], [cross.T, np.zeros((5, 5))]])
    expected = np.sort(linalg.eigh(joint, blocks, eigvals_only=True))[::-1][:5]
    maps = fit_cca(image, text, section(ridge=ridge))
    found = maps["image"].map.T @ cross @ maps["text"].map
    assert found == pytest.approx(np.diag(expected), abs=1e-5)


def test_both_spaces_are_white_under_their_regularised_covariance():
    image, text = pairs()
    maps = fit_cca(image, text, section())
    for values, name in ((image, "image"), (text, "text")):
        white = maps[name].map.T @ regularised(values, 1e-3) @ maps[name].map
        assert white == pytest.approx(np.eye(5), abs=1e-4)


def test_what_two_towers_share_is_found():
    image, text = pairs(2000, noise=0.1)
    maps = fit_cca(image, text, section(dims=4))
    left, right = maps["image"](image), maps["text"](text)
    correlations = [np.corrcoef(left[:, i], right[:, i])[0, 1] for i in range(4)]
    assert min(correlations[:3]) > 0.95
    assert abs(correlations[3]) < 0.1


def test_power_scales_columns_by_their_correlation():
    image, text = pairs()
    plain, scaled = (fit_cca(image, text, section(power=power)) for power in (0.0, 2.0))
    ratio = np.linalg.norm(scaled["text"].map, axis=0) / np.linalg.norm(plain["text"].map, axis=0)
    centred = image - image.mean(0), text - text.mean(0)
    cross = centred[0].astype(np.float64).T @ centred[1] / len(image)
    correlations = np.diag(plain["image"].map.T @ cross @ plain["text"].map)
    assert ratio == pytest.approx(correlations**2, rel=1e-4)


def test_dims_keep_the_first_columns():
    image, text = pairs()
    all_maps, two = fit_cca(image, text, section()), fit_cca(image, text, section(dims=2))
    assert two["image"].map == pytest.approx(all_maps["image"].map[:, :2])


def test_more_dims_than_there_are_keep_all():
    assert fit_cca(*pairs(), section(dims=100))["image"].map.shape == (7, 5)


def test_the_order_of_the_pairs_does_not_count():
    image, text = pairs()
    order = np.random.default_rng(1).permutation(len(image))
    maps = [fit_cca(image, text, section()), fit_cca(image[order], text[order], section())]
    cosines = [np.sum(maps[0][m].map * maps[1][m].map, 0) for m in ("image", "text")]
    lengths = [np.sum(maps[0][m].map ** 2, 0) for m in ("image", "text")]
    assert np.abs(cosines) == pytest.approx(np.array(lengths), rel=1e-3)


def test_mapping_a_mean_is_the_mean_of_the_mapped():
    image, text = pairs()
    mapped = fit_cca(image, text, section())["image"]
    assert mapped(image).mean(0) == pytest.approx(mapped(image.mean(0)), abs=1e-4)


def test_a_slow_svd_stands_in_where_the_fast_one_fails(monkeypatch):
    image, text = pairs()
    expected = fit_cca(image, text, section())
    real, drivers = linalg.svd, []

    def fails(matrix, lapack_driver="gesdd", **kept):
        drivers.append(lapack_driver)
        if lapack_driver == "gesdd":
            raise linalg.LinAlgError("SVD did not converge")
        return real(matrix, lapack_driver=lapack_driver, **kept)

    monkeypatch.setattr(align.linalg, "svd", fails)
    found = fit_cca(image, text, section())
    assert drivers == ["gesdd", "gesvd"]
    assert np.abs(found["text"].map) == pytest.approx(np.abs(expected["text"].map), abs=1e-4)


def test_too_few_pairs_without_a_ridge_say_what_to_raise():
    with pytest.raises(
        ParamsError, match=r"^CCA: 4 pairs leave a covariance of 7 dimensions singular; raise the ridge$"
    ):
        fit_cca(*pairs(4), section(ridge=0.0))


def test_the_maps_do_not_depend_on_how_many_threads_there_are():
    rng = np.random.default_rng(0)
    image, text = (rng.standard_normal((500, width)).astype(np.float32) for width in (1280, 384))
    maps = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            maps.append(fit_cca(image, text, section(dims=64, ridge=1.0, power=1.0)))
    for modality in ("image", "text"):
        assert maps[0][modality].map.tobytes() == maps[1][modality].map.tobytes()
