"""What belongs to which split, and how far variants lie outside training."""

import dataclasses

import numpy as np
import pytest

from hyperrl.envs import InputError, Parameter, registry
from hyperrl.envs.splits import SPLITS

FAMILIES = [registry.get(name) for name in registry.families()]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)

PLAIN = Parameter("mass", "kg", 2.0, train=(1, 3), wide=(0.5, 4), bounds="(0, 10]")
SIGNED = Parameter("power", "W", 1.0, train=(-1, 3), wide=(-5, 5))


def family_of(*parameters, **changes):
    return dataclasses.replace(registry.get("cartpole"), parameters=parameters, **{"held_out": {}} | changes)


@each_family
def test_splits_keep_to_their_regions(family):
    variants = {split: family.variants(split, 64) for split in ("train", *family.splits)}
    for split in ("train", "validation", "interpolation"):
        assert family.in_training_ranges(variants[split]).all()
        assert not family.is_held_out(variants[split]).any()
    assert ("combination" in variants) == bool(family.held_out)
    if family.held_out:
        assert family.in_training_ranges(variants["combination"]).all()
        assert family.is_held_out(variants["combination"]).all()
    if "extrapolation" in variants:
        assert not family.in_training_ranges(variants["extrapolation"]).any()
        low, high = family.box("wide")
        assert ((variants["extrapolation"] >= low) & (variants["extrapolation"] <= high)).all()
    rows = np.concatenate(list(variants.values()))
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert all(len(variants[split]) == min(64, len(family.fixed.get(split, rows))) for split in variants)


@pytest.mark.parametrize(
    ("family", "split"), [(family, split) for family in FAMILIES for split in ("train", *family.splits)]
)
def test_splits_are_fixed_and_nested(family, split):
    many = family.variants(split, 300)
    assert many.shape == (min(300, len(family.fixed.get(split, range(300)))), len(family.names))
    np.testing.assert_array_equal(many, family.variants(split, 300))
    np.testing.assert_array_equal(many[:8], family.variants(split, 8))


@each_family
def test_training_samples_are_never_held_out(family):
    low, high = family.box("train")
    unit = np.random.default_rng(0).random((4000, len(low)))
    anywhere = np.stack([p.place(unit[:, i], p.train) for i, p in enumerate(family.parameters)], axis=1)
    most = 0.55 if any(p.period for p in family.parameters) else 0.2  # of an angle, every other arc may be held out
    assert not family.held_out or 1 / 12 < family.is_held_out(anywhere).mean() < most
    sample = family.sample(2000, np.random.default_rng(1))
    assert family.in_training_ranges(sample).all()
    assert not family.is_held_out(sample).any()
    if "train" in family.fixed:
        assert {tuple(row) for row in sample} <= {tuple(row) for row in family.fixed["train"]}
        return
    straight = [not p.period for p in family.parameters]
    atol = 0.01 * (high - low).max()
    np.testing.assert_allclose(sample.min(0)[straight], low[straight], atol=atol)
    np.testing.assert_allclose(sample.max(0)[straight], high[straight], atol=atol)


def test_splits_that_a_family_lacks_are_said():
    family = family_of(dataclasses.replace(PLAIN, train=[1, 3], wide=(1, 3)))
    assert family.splits == ("validation", "interpolation")
    assert family_of(PLAIN).splits == ("validation", "interpolation", "extrapolation")
    assert family_of(PLAIN, held_out={"mass": (1, 2)}).splits == SPLITS[1:]
    with pytest.raises(InputError, match="split 'extrapolation': family 'cartpole' has no variants in it"):
        family.variants("extrapolation", 1)
    with pytest.raises(InputError, match="split 'combination': family 'cartpole' has no variants in it"):
        family.variants("combination", 1)
    with pytest.raises(InputError, match="split 'test': unknown; choose from train, validation"):
        family.variants("test", 1)


def test_splits_with_hardly_any_variants_do_not_hang():
    family = family_of(dataclasses.replace(PLAIN, wide=(1, 3 + 1e-9)))
    with pytest.raises(InputError, match=r"'extrapolation': family 'cartpole' has hardly any variants .* wide wider"):
        family.variants("extrapolation", 1)
    family = family_of(PLAIN, held_out={"mass": (1, 3 - 1e-9)})
    with pytest.raises(InputError, match=r"'train': family 'cartpole' has hardly any .* make held_out smaller"):
        family.sample(1, np.random.default_rng(0))


def test_distance_counts_half_ranges_of_the_worst_parameter():
    family = family_of(PLAIN, SIGNED)
    table_TP = np.array([[2.0, 1.0], [3.0, 3.0], [4.0, 1.0], [0.5, 5.0], [0.5, 3.5]])
    np.testing.assert_allclose(family.distance(table_TP), [0, 0, 1, 1, 0.5])
    np.testing.assert_array_equal(family.in_training_ranges(table_TP), [True, True, False, False, False])


@each_family
def test_the_corners_of_the_training_box_lie_in_the_training_ranges(family):
    corners = np.stack(family.box("train"))
    assert family.distance(corners).tolist() == [0.0, 0.0]
    assert family.in_training_ranges(corners).all()
    assert family.range_note(corners[:1]) == family.range_note(corners[1:]) == family.range_note(corners) == ""


@each_family
def test_the_ends_of_the_held_out_region_are_held_out(family):
    for name, intervals in family.held_out.items():
        others = {other: ends[0][0] for other, ends in family.held_out.items()}
        for low, high in intervals:
            assert family.is_held_out(family.table([others | {name: low}, others | {name: high}])).all()
            inside, outside = np.nextafter(low, high), np.nextafter(low, -np.inf)
            assert family.is_held_out(family.table([others | {name: inside}])).all()
            if low > family[name].train[0] and not any(end == low for _, end in intervals):
                assert not family.is_held_out(family.table([others | {name: outside}])).any()


def test_a_whole_turn_on_an_angle_is_held_out_as_before():
    family = registry.get("point")
    turned = family.table(
        [{"phi": 330.0}, {"phi": -30.0}, {"phi": 30.0}, {"phi": -330.0}, {"phi": 0.0}, {"phi": 360.0}]
    )
    assert family.is_held_out(turned).tolist() == [True, True, False, False, False, True]
    assert family.in_training_ranges(turned).all()
