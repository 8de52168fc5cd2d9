"""The wide concat arm: concat, as large as hyper."""

import pytest
import torch

from hyperrl.agents import ARMS, AgentSpec


def count(arm, spec):
    return sum(parameter.numel() for parameter in ARMS[arm](spec).parameters())


@pytest.mark.parametrize(
    "spec",
    [
        AgentSpec(4, 2, True, 5, generator_hidden=(32,)),
        AgentSpec(17, 6, False, 7),
        AgentSpec(5, 1, False, 104),  # many distractors
        AgentSpec(3, 2, True, 1, hidden=(32,)),
        AgentSpec(8, 2, False, 4, hidden=(128, 64, 32), generator_hidden=(64, 64)),
    ],
)
def test_it_has_within_3_percent_as_many_parameters_as_hyper(spec):
    assert count("concat_wide", spec) == pytest.approx(count("hyper", spec), rel=0.03)


def test_widths_keep_their_proportions():
    wide = ARMS["concat_wide"](AgentSpec(8, 2, False, 4, hidden=(128, 64)))
    assert wide.spec.hidden[0] / wide.spec.hidden[1] == pytest.approx(2, rel=0.01)
    # the policy of one hidden layer of H: (O + C + 1) H + (H + 1) A and A deviations, by hand
    one = ARMS["concat_wide"](AgentSpec(3, 2, False, 4, hidden=(16,)))
    (width,) = one.spec.hidden
    assert sum(layer.numel() for layer in one.policy) == 8 * width + (width + 1) * 2 + 2


def test_it_is_concat_with_these_widths():
    spec = AgentSpec(3, 2, True, 4, hidden=(8, 5))
    torch.manual_seed(0)
    wide = ARMS["concat_wide"](spec)
    torch.manual_seed(0)
    concat = ARMS["concat"](wide.spec)
    context_TC, obs_TNO = torch.randn(3, 4), torch.randn(3, 6, 3)
    for agent in (wide, concat):
        assert torch.equal(agent.generate(context_TC), context_TC)
    of_both = [agent(context_TC, obs_TNO, agent.begin(3, 6)) for agent in (wide, concat)]
    assert torch.equal(of_both[0][0].logits, of_both[1][0].logits)
    assert torch.equal(of_both[0][1], of_both[1][1])
