"""Figures: readable by what stands in them, and files that other programs open."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from hyperrl.envs import InputError, registry
from hyperrl.evaluation.statistics import interval
from hyperrl.reports import figures
from hyperrl.reports.animation import gif_bytes

CARTPOLE = registry.get("cartpole")
RNG = np.random.default_rng(0)


def texts(artists):
    return [artist.get_text() for artist in artists]


def legend(figure):
    (found,) = figure.legends
    return texts(found.get_texts())


def points(family):
    splits = {split: family.variants(split, 12) for split in ("interpolation", "extrapolation", "combination")}
    return {split: (variants_TP, RNG.uniform(9, 500, 12)) for split, variants_TP in splits.items()}


def sweeps(family):
    return {p.name: (np.linspace(*p.wide, 9), RNG.uniform(9, 500, 9)) for p in family.parameters}


def heat(family=CARTPOLE, names=("gravity", "length"), returns=None):
    grids = tuple(np.linspace(*family[name].wide, size) for name, size in zip(names, (7, 5), strict=True))
    return names, grids, RNG.uniform(9, 500, (7, 5)) if returns is None else returns


def curves():
    steps = np.arange(1, 6) * 16_384
    names = ("train", "validation", "interpolation", "extrapolation", "combination")
    return {name: (steps, RNG.uniform(9, 500, 5)) for name in names}


def write_all(folder):
    variants_TP = CARTPOLE.variants("extrapolation", 40)
    distance_T = CARTPOLE.distance(variants_TP)
    drawn = {
        "parameters": figures.return_over_parameters(CARTPOLE, points(CARTPOLE), sweeps(CARTPOLE)),
        "heat": figures.heat_map(CARTPOLE, *heat()),
        "curves": figures.learning_curves(CARTPOLE, curves()),
        "distance": figures.return_over_distance(CARTPOLE, distance_T, RNG.uniform(9, 500, 40)),
        "adaptation": figures.adaptation_curves(
            CARTPOLE, np.array([[0], [1], [2]]), RNG.uniform(9, 500, (3, 8)), np.full(8, 490.0)
        ),
    }
    return [figures.save(figure, folder / f"{name}.png") for name, figure in drawn.items()]


def test_files_are_images_of_a_readable_size(tmp_path):
    paths = write_all(tmp_path / "run" / "figures")
    for path in paths:
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert 800 <= image.width <= 2000
            assert 600 <= image.height <= 2000
            assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
            assert len(image.getcolors(1 << 24)) > 20
    assert [path.name for path in paths] == [
        "parameters.png",
        "heat.png",
        "curves.png",
        "distance.png",
        "adaptation.png",
    ]


def adapted(returns_KT, expert_T, **given):
    figure = figures.adaptation_curves(
        CARTPOLE, np.array([0, 1, 2, 5, 10])[:, None], np.array(returns_KT), np.array(expert_T), **given
    )
    (axes,) = figure.axes
    return figure, axes, {line.get_label(): line for line in axes.lines}


def test_adaptation_curves_show_variants_their_mean_and_their_experts():
    returns_KT = RNG.uniform(9, 500, (5, 3))
    figure, axes, lines = adapted(returns_KT, [480.0, np.nan, 420.0], split="extrapolation", note="mode all")
    assert legend(figure) == [
        "mean of 3 variants",
        "each variant",
        "95 % interval of the mean, over variants",
        "experts of 2 of 3 variants, mean 450.0",
        "solved (475)",
    ]
    np.testing.assert_allclose(lines["mean of 3 variants"].get_ydata(), returns_KT.mean(1))
    thin = [line.get_ydata() for line in axes.lines if line.get_alpha()]
    np.testing.assert_allclose(np.stack(thin, 1), returns_KT)
    expert = lines["experts of 2 of 3 variants, mean 450.0"]
    assert set(expert.get_ydata()) == {450.0}
    assert expert.is_dashed()
    assert texts(axes.get_xticklabels()) == ["0", "1", "2", "5", "10"]
    assert (figure._suptitle.get_text(), axes.get_title()) == (
        "cartpole: adaptation to variants of extrapolation",
        "mode all",
    )
    (band,) = axes.collections
    ends = band.get_paths()[0].vertices
    for k, returns_T in enumerate(returns_KT):
        low, high = interval(returns_T[None, :, None], np.mean, over=("variants",)).ends
        at = ends[ends[:, 0] == k, 1]
        np.testing.assert_allclose((at.min(), at.max()), (low, high))


def test_one_variant_has_no_interval():
    figure, axes, _ = adapted([[20.0], [30.0], [30.0], [100.0], [480.0]], [np.nan])
    assert legend(figure) == ["the variant", "solved (475)"]
    assert not axes.collections
    figure, _, lines = adapted([[-20.0]] * 5, [-3.0])
    assert f"its expert {figures.MINUS}3.0" in legend(figure)
    assert len(lines) == 3


def test_a_figure_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/heat\.png: cannot be written \(.+\); choose a folder that can$"):
        figures.save(figures.heat_map(CARTPOLE, *heat()), tmp_path / "file" / "heat.png")


def test_threads_draw_what_one_draws_and_pyplot_stays_out(tmp_path):
    """Four figures at once, each the same as the first to the bit."""

    def draw(number):
        figure = figures.heat_map(CARTPOLE, *heat(returns=np.arange(35.0).reshape(7, 5)))
        return figures.save(figure, tmp_path / f"{number}.png").read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(draw, range(4)))) == 1
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_parameter_panels_name_units_ranges_and_splits():
    figure = figures.return_over_parameters(CARTPOLE, points(CARTPOLE), sweeps(CARTPOLE))
    panels = figure.axes
    named = ["gravity (m/s²)", "masscart (kg)", "masspole (kg)", "length (m)", "force_mag (N)"]
    assert [axes.get_xlabel() for axes in panels] == named
    assert [axes.get_ylabel() for axes in panels] == ["return", "", "", "return", ""]
    shown = legend(figure)
    assert [label.partition(":")[0] for label in shown[:3]] == [
        "interpolation",
        "extrapolation",
        "combination",
    ]
    assert shown[3:] == [
        "this parameter alone, others at default",
        "training range",
        "default",
        "solved (475)",
    ]
    for parameter, axes in zip(CARTPOLE.parameters, panels, strict=True):
        low, high = axes.get_xlim()
        assert low < parameter.wide[0] < parameter.wide[1] < high
        (span,) = axes.patches
        assert (span.get_x(), span.get_x() + span.get_width()) == pytest.approx(parameter.train)
        (default,) = (line for line in axes.lines if line.get_label() == "default")
        np.testing.assert_array_equal(default.get_xdata(), [parameter.default] * 2)


def test_a_dot_is_a_variant_and_the_line_is_the_sweep():
    held_out, lines = points(CARTPOLE), sweeps(CARTPOLE)
    figure = figures.return_over_parameters(CARTPOLE, held_out, lines)
    axes = figure.axes[3]
    for dots, (variants_TP, returns_T) in zip(axes.collections, held_out.values(), strict=True):
        np.testing.assert_allclose(dots.get_offsets(), np.stack([variants_TP[:, 3], returns_T], axis=1))
    colours = [to_hex(dots.get_facecolor()[0]) for dots in axes.collections]
    assert colours == ["#0072b2", "#d55e00", "#009e73"]
    (sweep,) = (line for line in axes.lines if "alone" in str(line.get_label()))
    np.testing.assert_array_equal(sweep.get_xydata(), np.stack(lines["length"], axis=1))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_panels_for_any_number_of_parameters(count, tmp_path):
    family = replace(CARTPOLE, parameters=CARTPOLE.parameters[:count], held_out={}, solved=None)
    variants_TP = family.variants("interpolation", 3)
    held_out = {"interpolation": (variants_TP, np.array([-5.0, -3.0, -8.0]))}
    figure = figures.return_over_parameters(family, held_out, {})
    assert [axes.get_xlabel().split()[0] for axes in figure.axes] == list(family.names)
    assert legend(figure) == [
        "interpolation: 3 variants, mean \N{MINUS SIGN}5.3",
        "training range",
        "default",
    ]
    assert figures.save(figure, tmp_path / "p.png").stat().st_size > 5_000


def test_heat_map_outlines_what_was_trained_on():
    names, grids, returns = heat()
    figure = figures.heat_map(CARTPOLE, names, grids, returns)
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == (
        "gravity (m/s²)",
        "length (m)",
        "mean return",
    )
    title = axes.get_title().replace("\N{NO-BREAK SPACE}", " ")
    assert title == "others at their defaults: masscart 1 kg, masspole 0.1 kg, force_mag 10 N"
    mesh = axes.collections[0]
    np.testing.assert_array_equal(np.reshape(mesh.get_array(), (5, 7)), returns.T)  # row by row from the bottom
    boxes = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert list(boxes) == legend(figure)[:3] == ["training ranges", "combination: never trained on", "default"]
    ends = [(*box.min(0), *box.max(0)) for box in boxes.values()]
    assert ends == [(5, 0.25, 15, 1), (11.5, 0.25, 15, 0.5), (9.8, 0.5, 9.8, 0.5)]


def test_heat_map_outlines_no_held_out_box_that_it_does_not_cross():
    names, grids, returns = heat(names=("gravity", "masscart"))
    assert len(figures.heat_map(CARTPOLE, names, grids, returns).axes[0].lines) == 2
    # the sub-box now asks for a heavy pole as well, which the default is not
    family = replace(CARTPOLE, held_out={**CARTPOLE.held_out, "masspole": (0.3, 0.5)})
    assert len(figures.heat_map(family, *heat()).axes[0].lines) == 2


@pytest.mark.parametrize("value", [500.0, np.nan])
def test_heat_map_of_one_value(value, tmp_path):
    figure = figures.heat_map(CARTPOLE, *heat(returns=np.full((7, 5), value)))
    assert figures.save(figure, tmp_path / "h.png").exists()


def test_learning_curves_are_named_over_steps():
    figure = figures.learning_curves(CARTPOLE, curves())
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("environment steps", "mean return")
    names = ["train (sampled actions)", "validation", "interpolation", "extrapolation", "combination"]
    assert legend(figure) == [*names, "solved (475)"]
    assert axes.xaxis.get_major_formatter()(40_000) == "40k"
    assert axes.get_xlim()[0] == 0


def test_distance_shows_means_of_neighbours():
    distance_T = np.array([0.0, 0.0, 1.0, 2.0, 3.0])
    figure = figures.return_over_distance(CARTPOLE, distance_T, np.array([500.0, 400, 300, 200, 100]))
    (axes,) = figure.axes
    assert axes.get_xlabel() == "distance from the training box (half-ranges of the worst parameter)"
    assert legend(figure)[:2] == [
        "inside the training box: 2 variants",
        "outside the training box: 3 variants",
    ]
    (means,) = (line for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_array_equal(means.get_xydata(), [[0, 450], [2, 200]])


@pytest.mark.parametrize("distance", [[0.0, 0.0], [0.5, 2.0], []])
def test_distance_of_one_kind_only(distance, tmp_path):
    distance_T = np.array(distance)
    figure = figures.return_over_distance(CARTPOLE, distance_T, np.full(len(distance), 7.0))
    assert figures.save(figure, tmp_path / "d.png").exists()


def moving(count, size=(40, 60)):
    """A dark square that moves over white."""
    frames = [np.full((*size, 3), 255, dtype=np.uint8) for _ in range(count)]
    for i, frame in enumerate(frames):
        frame[10:20, i % 50 : i % 50 + 10] = (129, 132, 203)
    return frames


def played(data):
    """Frames as RGB, and the milliseconds that each is shown."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "GIF"
        assert image.info["loop"] == 0
        shown = []
        for i in range(image.n_frames):
            image.seek(i)
            shown.append((np.asarray(image.convert("RGB")), image.info["duration"]))
    return shown


@pytest.mark.parametrize("fps", [5, 20, 30, 50])
def test_gif_keeps_frames_colours_and_time(fps):
    frames = moving(30)
    shown = played(gif_bytes(frames, fps))
    assert len(shown) == 30
    for (image, _), frame in zip(shown, frames, strict=True):
        np.testing.assert_array_equal(image, frame)
    assert sum(duration for _, duration in shown) == pytest.approx(30_000 / fps, abs=5)
    assert min(duration for _, duration in shown) >= 20


def test_gif_above_what_viewers_play_leaves_frames_out():
    shown = played(gif_bytes(moving(40), 100))
    assert len(shown) == 20
    assert sum(duration for _, duration in shown) == 400
    np.testing.assert_array_equal(shown[1][0], moving(40)[2])


def test_gif_of_a_still_lasts_as_long():
    assert sum(duration for _, duration in played(gif_bytes(moving(1) * 25, 50))) == 500


def test_gif_of_many_colours_stays_close():
    x, y = np.meshgrid(np.arange(96), np.arange(64))
    frames = [np.stack([x * 2, y * 4, x + y + i], axis=-1).astype(np.uint8) for i in range(3)]
    for (image, _), frame in zip(played(gif_bytes(frames, 10)), frames, strict=True):
        assert np.abs(image.astype(int) - frame).mean() < 10


@pytest.mark.parametrize(("count", "fps"), [(0, 50), (3, 0), (3, -1)])
def test_gif_of_nothing_is_refused(count, fps):
    with pytest.raises(ValueError, match=f"{count} frames at {fps} frames/s"):
        gif_bytes(moving(count), fps)
