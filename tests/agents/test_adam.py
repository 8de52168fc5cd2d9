"""Adam against PyTorch's own, with clipped gradients and void steps."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from hyperrl.agents.adam import Adam


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 50), nn.Tanh(), nn.Linear(50, 2))


@pytest.mark.parametrize(("max_norm", "decay"), [(1e-3, 0.0), (0.5, 0.1), (1e6, 0.0)])
def test_it_steps_as_pytorchs(max_norm, decay):
    ours, theirs = network(), network()
    adam = Adam(list(ours.parameters()), max_norm, weight_decay=decay)
    reference = torch.optim.AdamW(theirs.parameters(), lr=1.0, eps=1e-5, weight_decay=decay)
    for i, obs in enumerate(torch.randn(20, 9, 3, generator=torch.Generator().manual_seed(0))):
        rate = 1e-2 / (1 + i)
        gradient, norm = adam.gradient(ours(obs).square().sum())
        adam.step(gradient, norm, torch.tensor(rate), torch.ones(()))
        reference.param_groups[0]["lr"] = rate
        reference.zero_grad()
        theirs(obs).square().sum().backward()
        torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(theirs.parameters(), max_norm), rtol=1e-5, atol=0)
        reference.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_a_void_step_leaves_everything():
    net = network()
    adam, obs = Adam(list(net.parameters()), 0.5), torch.ones(4, 3)

    def step(active):
        adam.step(*adam.gradient(net(obs).sum()), torch.tensor(1e-2), torch.tensor(active))
        return [x.clone() for x in (*net.parameters(), *adam.first, *adam.second, adam.steps)]

    before, after = step(1.0), step(0.0)
    assert all(map(torch.equal, before, after))
    gradient, _ = adam.gradient(net(obs).sum())
    adam.step([torch.full_like(part, torch.nan) for part in gradient], torch.tensor(torch.nan), *torch.tensor([1.0, 0]))
    assert all(map(torch.equal, before, net.parameters()))
    assert not torch.equal(before[0], step(1.0)[0])


def test_what_a_loss_does_not_depend_on_has_no_gradient():
    net = network()
    gradient, norm = Adam(list(net.parameters()), 0.5).gradient(net[2].bias.square().sum() + 3 * net[2].bias[0])
    assert [bool(part.any()) for part in gradient] == [False, False, False, True]
    torch.testing.assert_close(norm, gradient[3].norm())


def test_it_goes_on_from_its_state():
    runs = []
    for stop in (False, True):
        net = network()
        adam = Adam(list(net.parameters()), 0.5)
        for i in range(4):
            if stop and i == 2:
                state, adam = adam.state_dict(), Adam(list(net.parameters()), 0.5)
                adam.load_state_dict(state)
            adam.step(*adam.gradient(net(torch.ones(4, 3)).sum()), torch.tensor(1e-2), torch.ones(()))
        runs.append(list(net.parameters()))
    assert all(map(torch.equal, *runs))


def test_it_imports_no_compiler():
    script = "from tests.agents.test_adam import *; test_what_a_loss_does_not_depend_on_has_no_gradient()"
    script += "; import sys; assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
