"""It learns."""

import pytest

import hyperrl
from hyperrl.play.actors import random_actions
from hyperrl.play.episodes import play


@pytest.mark.slow
def test_the_hypernetwork_learns_cartpole_in_seconds(tmp_path):
    run = hyperrl.train("cartpole", steps=150_000, run=tmp_path, device="cpu", quiet=True, encoder=False)
    assert run.best["score"] >= 300
    evaluation = run.evaluate(episodes=3)
    family = run.family
    random = play(family, evaluation.variants_TP, random_actions(family), 3).returns_TE
    assert evaluation.means_T.mean() > 250
    assert evaluation.means_T.min() > 3 * random.mean()
