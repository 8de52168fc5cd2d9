"""The event files, read back as TensorBoard reads them."""

import io
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hyperrl.api import train
from hyperrl.envs import InputError
from hyperrl.play.episodes import Episodes
from hyperrl.reports.tensorboard import RunLog
from hyperrl.storage import checkpoint
from hyperrl.training import held_out, loop
from hyperrl.training.held_out import HELD_OUT, HeldOut
from hyperrl.training.trainer import Trainer

SB3_TAGS = {
    "rollout/ep_rew_mean",
    "rollout/ep_len_mean",
    "time/fps",
    "eval/mean_reward",
    "eval/mean_ep_length",
    "train/approx_kl",
    "train/clip_fraction",
    "train/entropy_loss",
    "train/explained_variance",
    "train/learning_rate",
    "train/loss",
    "train/policy_gradient_loss",
    "train/value_loss",
}
OUR_TAGS = {"train/weight_norm", "train/weight_diversity", "train/grad_norm"}
EVERY_STEP = [128 * i for i in range(1, 7)]
EVALUATED = [384, 768]


def read(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def steps(accumulator, tag):
    return [event.step for event in accumulator.Scalars(tag)]


@pytest.fixture(scope="module")
def events(tiny_run):
    return read(tiny_run.folder)


def test_curves_carry_stable_baselines3s_tags(events):
    assert set(events.Tags()["scalars"]) >= SB3_TAGS | OUR_TAGS
    for tag in SB3_TAGS | OUR_TAGS:
        if tag.startswith("eval/"):
            assert steps(events, tag) == EVALUATED
        elif not tag.startswith("rollout/"):  # where no episode ended there is nothing to say
            assert steps(events, tag) == EVERY_STEP
        assert all(math.isfinite(event.value) for event in events.Scalars(tag))
    assert steps(events, "rollout/ep_rew_mean")[-1] == 768


def test_every_split_has_its_curve(events, tiny_run):
    for split in HELD_OUT:
        means, worsts = (events.Scalars(f"eval/{split}/{kind}_reward") for kind in ("mean", "worst"))
        assert [event.step for event in means] == EVALUATED
        assert all(worst.value <= mean.value for worst, mean in zip(worsts, means, strict=True))
    validation = [event.value for event in events.Scalars("eval/validation/mean_reward")]
    assert validation == [event.value for event in events.Scalars("eval/mean_reward")]
    assert max(validation) == pytest.approx(tiny_run.best["score"])
    assert tiny_run.best["step"] == EVALUATED[int(np.argmax(validation))]


def test_histograms_of_the_generated_weights(events):
    for tag in ("weights/generated", "weights/deviation_across_variants"):
        assert [event.step for event in events.Histograms(tag)] == EVALUATED
    policy, value = 4 * 64 + 64 + 64 * 64 + 64 + 64 * 2 + 2, 4 * 64 + 64 + 64 * 64 + 64 + 64 + 1
    last = events.Histograms("weights/generated")[-1].histogram_value
    assert last.num == 64 * (policy + value)
    deviation = events.Histograms("weights/deviation_across_variants")[-1].histogram_value
    assert deviation.num == policy + value
    assert deviation.min >= 0
    assert deviation.max > 0


def test_the_gif_is_an_animation(events):
    (image,) = events.Images("play/validation_variant")
    with Image.open(io.BytesIO(image.encoded_image_string)) as gif:
        assert gif.format == "GIF"
        assert gif.n_frames > 3
        assert gif.size == (image.width, image.height)
        frames = []
        for index in range(gif.n_frames):
            gif.seek(index)
            frames.append(np.asarray(gif.convert("RGB"), dtype=int))
    assert any((a != b).any() for a, b in pairwise(frames))
    assert np.ptp(frames[0]) > 100


def test_the_projector_has_contexts_and_weights(tiny_run):
    config = (tiny_run.folder / "projector_config.pbtxt").read_text()
    table_TP = tiny_run.family.variants("validation", 64)
    for tag, width in (("contexts", 7), ("generated_weights", None)):
        (folder,) = tiny_run.folder.glob(f"*/{tag}")
        assert str(folder.relative_to(tiny_run.folder)) in config
        tensors = np.loadtxt(folder / "tensors.tsv", delimiter="\t")
        assert len(tensors) == 64
        assert width in (None, tensors.shape[1])
        assert (tensors.std(0) > 0).any()
        header, *rows = (line.split("\t") for line in (folder / "metadata.tsv").read_text().splitlines())
        assert header == [*tiny_run.family.names, "variant"]
        np.testing.assert_allclose(np.array(rows, dtype=float)[:, :-1], table_TP, rtol=1e-2)
    contexts = np.loadtxt(next(tiny_run.folder.glob("*/contexts")) / "tensors.tsv", delimiter="\t")
    expected = tiny_run.family.encode(torch.as_tensor(table_TP)).numpy()
    np.testing.assert_allclose(contexts, expected, atol=1e-5)
    weights = np.loadtxt(next(tiny_run.folder.glob("*/generated_weights")) / "tensors.tsv", delimiter="\t")
    generated = tiny_run.agent.generate(torch.as_tensor(expected, dtype=torch.float32)).detach().double().numpy()
    assert weights.shape == (64, min(64, generated.shape[1]))
    distances = (np.linalg.norm(x[:, None] - x, axis=-1) for x in (weights, generated))
    np.testing.assert_allclose(*distances, rtol=1e-3, atol=1e-3)


def test_the_hparams_page(events, tiny_run):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = events.PluginTagToContent("hparams")
    start = HParamsPluginData.FromString(found["_hparams_/session_start_info"]).session_start_info
    assert start.hparams["agent"].string_value == "hyper"
    assert start.hparams["learning_rate"].number_value == tiny_run.config.learning_rate
    assert start.hparams["hidden"].string_value == "(64, 64)"
    (score,) = events.Scalars("hparam/validation")
    assert score.value == pytest.approx(tiny_run.best["score"])


def test_everything_is_in_the_run_s_own_folder(tiny_run):
    # add_hparams makes a folder of its own unless told otherwise, and the page would show it as another run
    assert {path.parent for path in tiny_run.folder.rglob("events*")} == {tiny_run.folder}


class Killed(Exception):
    pass


@pytest.mark.parametrize("checkpoint_at", [0, 3, 5])
def test_a_resumed_run_has_every_step_once(tiny, tmp_path, monkeypatch, checkpoint_at):
    """Killed after iteration 5, with a checkpoint of iteration 0 (none), 3 or 5."""
    save, iterate = loop.save, Trainer.iterate
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
        patch.setattr(
            loop, "save", lambda path, trainer, p: trainer.iteration == checkpoint_at and save(path, trainer, p)
        )

        def iterate_or_die(trainer):
            if trainer.iteration == 5:
                raise Killed
            return iterate(trainer)

        patch.setattr(Trainer, "iterate", iterate_or_die)
        with pytest.raises(Killed):
            train("cartpole", run=tmp_path, quiet=True, **tiny)
    assert steps(read(tmp_path), "train/loss") == EVERY_STEP[:5]
    train("cartpole", run=tmp_path, quiet=True, resume=True, **tiny)
    events = read(tmp_path)
    assert steps(events, "train/loss") == EVERY_STEP
    assert steps(events, "eval/mean_reward") == EVALUATED


def test_what_a_checkpoint_knows_is_on_disk_before_it(tiny, tmp_path, monkeypatch):
    """SIGKILL right after a checkpoint must not lose the curves up to it."""
    on_disk = []
    save = loop.save

    def look(path, trainer, progressed):
        on_disk.append((trainer.steps, steps(read(path.parent), "train/loss")[-1]))
        save(path, trainer, progressed)

    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    monkeypatch.setattr(loop, "save", look)
    train("cartpole", run=tmp_path, quiet=True, **tiny)
    assert on_disk == [(step, step) for step in EVERY_STEP]


def test_the_best_agent_on_validation_is_kept(tiny, tmp_path, monkeypatch):
    scores, agents, play = [10.0, 30.0, 20.0, 30.0, 5.0, 7.0], [], HeldOut.play

    def judged(family, table_TP, actor, episodes, *_, **__):
        # the other splits do ever better, and decide nothing
        returns_TE = np.full((len(table_TP), episodes), 100.0 * (1 + len(agents)))
        returns_TE[: HELD_OUT["validation"]] = scores[len(agents)]
        return Episodes(returns_TE, np.ones_like(returns_TE), returns_TE, torch.empty(0))

    def remembering(self, trainer, progressed):
        metrics = play(self, trainer, progressed)
        agents.append({name: value.clone() for name, value in trainer.agent.state_dict().items()})
        return metrics

    monkeypatch.setattr(held_out, "play", judged)
    monkeypatch.setattr(HeldOut, "play", remembering)
    run = train("cartpole", run=tmp_path, quiet=True, **tiny | {"evaluations": 6})
    assert len(agents) == 6
    assert run.best["score"] == 30.0
    assert run.best["step"] == 4 * 128  # the later of two equals
    for name, value in run.agent.state_dict().items():
        torch.testing.assert_close(value, agents[3][name])
    assert run.steps == 768


def test_what_is_not_finite_is_left_out(tmp_path):
    with RunLog(tmp_path, 0) as log:
        log.scalars({"a": 1.0, "b": math.nan, "c": math.inf}, 5)
    events = read(tmp_path)
    assert [event.value for event in events.Scalars("a")] == [1.0]
    assert not {"b", "c"} & set(events.Tags()["scalars"])


def test_a_family_without_a_renderer_and_an_arm_without_weights(tiny, tmp_path, own_family):
    run = train(str(own_family), agent="blind", run=tmp_path / "run", quiet=True, **tiny)
    events = read(run.folder)
    assert "play/validation_variant" not in events.Tags()["images"]
    assert "weights/generated" not in events.Tags()["histograms"]
    assert set(events.Tags()["scalars"]) >= SB3_TAGS - {"rollout/ep_rew_mean", "rollout/ep_len_mean"}
    assert not {"eval/combination/mean_reward"} & set(events.Tags()["scalars"])


@pytest.mark.filterwarnings("ignore:.* returns are not finite")
def test_a_diverged_run_ends_with_one_line_and_leaves_the_checkpoint(tiny, tmp_path, monkeypatch):
    iterate = Trainer.iterate

    def diverge(trainer):
        metrics = iterate(trainer)
        if trainer.iteration == 3:  # the iteration of an evaluation
            with torch.no_grad():
                for parameter in trainer.agent.parameters():
                    parameter.fill_(math.nan)
        return metrics

    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    monkeypatch.setattr(Trainer, "iterate", diverge)
    with pytest.raises(InputError, match=r"agent\..* is not finite: the training has diverged; choose a lower"):
        train("pendulum", run=tmp_path, quiet=True, **tiny)
    assert checkpoint.load(tmp_path / "checkpoint.pt")["steps"] == 256
