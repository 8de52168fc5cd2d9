"""A family of regression problems: the network that fits a task is written from the task's descriptor.

Each task is a spring let go: position y(t) = amplitude * exp(-damping t) * cos(2 pi frequency t), seen at a few noisy
points. A hypernetwork reads (amplitude, frequency, damping) and writes a small network t -> y; the loss is the squared
error + lambda * the squared norm of the generated weights. A plain network that ignores the descriptor is fitted to
the same points. Both are judged on tasks that neither has seen.

    python examples/regression.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib
import torch
from torch import Tensor

from hyperrl.agents.actor_critic import grouped_mlp
from hyperrl.agents.hypernetwork import Hypernetwork
from hyperrl.agents.spec import orthogonal_layers

LOW, HIGH = torch.tensor([0.5, 0.3, 0.0]), torch.tensor([1.5, 1.0, 1.0])  # m, Hz, 1/s
SECONDS, POINTS, NOISE = 3.0, 8, 0.05
HIDDEN, LAMBDA = (32, 32), 1e-6


def position(context_TC: Tensor, t_TN: Tensor) -> Tensor:
    """Positions (T, N) in m at times (T, N) in s; contexts hold the descriptors, scaled to +-1."""
    amplitude, frequency, damping = (LOW + (HIGH - LOW) * (context_TC + 1) / 2).T.unsqueeze(2)
    return amplitude * torch.exp(-damping * t_TN) * torch.cos(2 * torch.pi * frequency * t_TN)


def apply(layers: list[Tensor], t_TN: Tensor) -> Tensor:
    """Positions (T, N) that T networks answer."""
    return grouped_mlp(layers, (2 * t_TN / SECONDS - 1).unsqueeze(2), "tanh").squeeze(2)


def fit(write: Callable[[], list[Tensor]], parameters: list[Tensor], t_TN: Tensor, y_TN: Tensor, steps: int) -> None:
    """Minimise the mean squared error + lambda * the squared norm of a task's weights, tasks averaged."""
    optimiser = torch.optim.Adam(parameters, lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        layers = write()
        norm = sum(layer.square().sum() / len(layer) for layer in layers)
        loss = (apply(layers, t_TN) - y_TN).square().mean() + LAMBDA * norm
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def main(steps: int = 2000, tasks: int = 256, seed: int = 0, figure: str = "runs/regression.png") -> dict[str, float]:
    """Fit both, print and draw them; returns their mean squared errors (m^2) on held-out tasks."""
    torch.manual_seed(seed)
    context_TC, t_TN = 2 * torch.rand(tasks, 3) - 1, SECONDS * torch.rand(tasks, POINTS)
    y_TN = position(context_TC, t_TN) + NOISE * torch.randn(tasks, POINTS)
    initial = orthogonal_layers(1, HIDDEN, 1, gain=1.0)

    hypernetwork = Hypernetwork(3, initial, hidden=(64, 64))
    fit(lambda: hypernetwork.split(hypernetwork(context_TC)), list(hypernetwork.parameters()), t_TN, y_TN, steps)
    plain = [layer.clone().requires_grad_() for layer in initial]
    fit(lambda: [layer.expand(tasks, *layer.shape) for layer in plain], plain, t_TN, y_TN, steps)

    held_out_TC, grid_TN = 2 * torch.rand(tasks, 3) - 1, torch.linspace(0, SECONDS, 100).expand(tasks, -1)
    truth_TN = position(held_out_TC, grid_TN)
    with torch.no_grad():
        answers = {
            "hypernetwork": apply(hypernetwork.split(hypernetwork(held_out_TC)), grid_TN),
            "plain network": apply([layer.expand(tasks, *layer.shape) for layer in plain], grid_TN),
        }
    errors = {name: (answer - truth_TN).square().mean().item() for name, answer in answers.items()}
    print(f"{tasks} tasks of {POINTS} points, judged on {tasks} held-out tasks")
    for name, error in errors.items():
        print(f"{name:14}  mean squared error {error:.5f} m^2")
    draw(figure, held_out_TC, grid_TN[0], truth_TN, answers)
    return errors


def draw(figure: str, context_TC: Tensor, t_N: Tensor, truth_TN: Tensor, answers: dict[str, Tensor]) -> None:
    """Four held-out tasks, what each network answers, and the truth."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    fig, axes = plt.subplots(1, 4, figsize=(13, 3.4), sharex=True, sharey=True, layout="constrained")
    descriptors = (LOW + (HIGH - LOW) * (context_TC + 1) / 2).tolist()
    for task, ax in enumerate(axes):
        amplitude, frequency, damping = descriptors[task]
        ax.plot(t_N, truth_TN[task], color="0.7", linewidth=5, label="truth")
        for (name, answer_TN), style in zip(answers.items(), ("C0-", "C1--"), strict=True):
            ax.plot(t_N, answer_TN[task], style, linewidth=1.8, label=name)
        ax.set_title(f"{amplitude:.2f} m, {frequency:.2f} Hz, {damping:.2f} 1/s", fontsize=10)
        ax.set_xlabel("time (s)")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("position (m)")
    fig.suptitle("Held-out springs: networks written from (amplitude, frequency, damping)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    Path(figure).parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(figure, dpi=130)
    plt.close(fig)
    print(f"figure: {figure}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", default="runs/regression.png")
    main(**vars(parser.parse_args()))
