"""R independent runs at once: under vmap, arms, objective and normaliser give each run what it gets alone."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from hyperrl.agents import ARMS, AgentSpec
from hyperrl.agents.losses.advantages import gae
from hyperrl.agents.losses.objective import Batch
from hyperrl.agents.losses.ppo import PPO

R, S, T, E, N = 3, 4, 5, 2, 6
KINDS = pytest.mark.parametrize("discrete", [True, False])


class Loss(nn.Module):
    """From contexts and samples to the objective's loss, as the trainer comes to it."""

    def __init__(self, agent):
        super().__init__()
        self.agent = agent
        self.objective = PPO(clip=0.2, value_coef=0.5, entropy_coef=0.01, weight_norm_coef=0.1, diversity_coef=0.1)

    def forward(self, context_TC, batch):
        weights_TD = self.agent.generate(context_TC)
        distribution, value_TN, _ = self.agent(weights_TD, batch.obs_TNO, batch.state_TNH)
        return self.objective.terms(distribution, value_TN, batch, weights_TD).loss


class Update(nn.Module):
    """The normaliser's statistics after one update."""

    def __init__(self, normaliser):
        super().__init__()
        self.normaliser = normaliser

    def forward(self, obs_STEO, returns_STE):
        self.normaliser.update(obs_STEO, returns_STE)
        return dict(self.normaliser.named_buffers())


def stacked(make, modules):
    """A stateless copy that vmap may call, and the parameters and buffers of all of them, stacked."""
    parameters, buffers = stack_module_state(modules)
    return make.to("meta"), parameters, {name: value.clone() for name, value in buffers.items()}


def agents(arm, discrete):
    spec = AgentSpec(observation=3, action=2, discrete=discrete, context=4, hidden=(8,))
    made = []
    for seed in range(R):
        torch.manual_seed(seed)
        made.append(ARMS[arm](spec))
        with torch.no_grad():  # a generator's head starts at zero, which would hide the trunk's gradients
            for parameter in made[-1].parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return made


@KINDS
@pytest.mark.parametrize("arm", ARMS)
def test_gradients_are_those_of_each_run_alone(arm, discrete):
    losses = [Loss(agent) for agent in agents(arm, discrete)]
    stateless, parameters, buffers = stacked(Loss(agents(arm, discrete)[0]), losses)
    context_RTC = torch.randn(R, T, 4)
    batch_R = Batch(
        obs_TNO=torch.randn(R, T, N, 3),
        state_TNH=torch.randn(R, T, N, losses[0].agent.state_size),
        action_TN=torch.randint(2, (R, T, N)) if discrete else torch.randn(R, T, N, 2),
        log_prob_TN=-torch.rand(R, T, N),
        advantage_TN=torch.randn(R, T, N),
        return_TN=torch.randn(R, T, N),
        return_scale_T1=1 + torch.rand(R, T, 1),
    )

    def loss_of(parameters, buffers, context_TC, batch):
        return functional_call(stateless, (parameters, buffers), (context_TC, batch))

    found = vmap(grad(loss_of))(parameters, buffers, context_RTC, batch_R)
    for r, loss in enumerate(losses):
        loss(context_RTC[r], Batch(*(samples[r] for samples in batch_R))).backward()
        for name, parameter in loss.named_parameters():
            torch.testing.assert_close(found[name][r], parameter.grad, rtol=1e-4, atol=1e-6)
    assert all(gradient.abs().max() > 0 for gradient in found.values())


def test_normalisers_take_in_what_their_own_run_saw():
    alone = [Update(agent.normaliser) for agent in agents("hyper", True)]
    stateless, _, buffers = stacked(Update(agents("hyper", True)[0].normaliser), alone)
    obs_RSTEO, returns_RSTE = torch.randn(R, S, T, E, 3), torch.randn(R, S, T, E)

    def update(buffers, obs_STEO, returns_STE):
        return functional_call(stateless, buffers, (obs_STEO, returns_STE))

    found = vmap(update)(buffers, obs_RSTEO, returns_RSTE)
    for r, one in enumerate(alone):
        for name, expected in one(obs_RSTEO[r], returns_RSTE[r]).items():
            torch.testing.assert_close(found[name][r], expected)


def test_advantages_are_those_of_each_run_alone():
    torch.manual_seed(0)
    rewards, values, next_values = torch.randn(3, R, S, T, E).unbind()
    terminated = torch.rand(R, S, T, E) < 0.2
    done = terminated | (torch.rand(R, S, T, E) < 0.2)
    inputs = (rewards, values, next_values, terminated, done)
    found = vmap(lambda *of_one_run: gae(*of_one_run, 0.9, 0.8))(*inputs)
    for r in range(R):
        torch.testing.assert_close(found[r], gae(*(x[r] for x in inputs), 0.9, 0.8))
