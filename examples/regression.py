"""A family of regression problems: a hypernetwork generates the network of a task from the task's descriptor.

Each task is a released spring: position y(t) = amplitude * exp(-damping t) * cos(2 pi frequency t), known at a few
noisy points. A hypernetwork reads (amplitude, frequency, damping) and writes a small network t -> y; the loss is the
squared error + lambda * the squared norm of the generated weights. A plain network without the descriptor is fitted to
the same points. Both are evaluated on held-out tasks.

    python examples/regression.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from hyperrl.agents.hypernetwork import Hypernetwork
from hyperrl.agents.networks import grouped_mlp
from hyperrl.agents.spec import orthogonal_layers

LOW, HIGH = torch.tensor([0.5, 0.3, 0.0]), torch.tensor([1.5, 1.0, 1.0])  # m, Hz, 1/s
SECONDS, POINTS, NOISE_M, LAMBDA = 3.0, 8, 0.05, 1e-6


def position(context_TC: Tensor, t_TN: Tensor) -> Tensor:
    """Positions (T, N) in m at times (T, N) in s; contexts are descriptors scaled to +-1."""
    amplitude, frequency, damping = (LOW + (HIGH - LOW) * (context_TC + 1) / 2).T.unsqueeze(2)
    return amplitude * torch.exp(-damping * t_TN) * torch.cos(2 * torch.pi * frequency * t_TN)


def predict(layers: list[Tensor], t_TN: Tensor) -> Tensor:
    """Positions (T, N), the outputs of T networks."""
    return grouped_mlp(layers, (2 * t_TN / SECONDS - 1).unsqueeze(2), "tanh").squeeze(2)


def fit(write: Callable[[], list[Tensor]], parameters: list[Tensor], t_TN: Tensor, y_TN: Tensor, steps: int) -> None:
    """Minimise the mean over tasks of squared error + lambda * squared norm of the task's weights."""
    optimiser = torch.optim.Adam(parameters, lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        layers = write()
        norm = torch.stack([layer.square().sum() for layer in layers]).sum() / len(t_TN)
        loss = (predict(layers, t_TN) - y_TN).square().mean() + LAMBDA * norm
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def main(steps: int = 1000, tasks: int = 256, seed: int = 0, figure: str = "runs/regression.png") -> dict[str, float]:
    """Fit both, print and draw them; returns their mean squared errors in m^2 on held-out tasks."""
    torch.manual_seed(seed)
    context_TC, t_TN = 2 * torch.rand(tasks, 3) - 1, SECONDS * torch.rand(tasks, POINTS)
    y_TN = position(context_TC, t_TN) + NOISE_M * torch.randn(tasks, POINTS)

    initial = orthogonal_layers(1, (32, 32), 1, gain=1.0)
    hypernetwork = Hypernetwork(3, initial, hidden=(64, 64))
    fit(
        lambda: hypernetwork.split(hypernetwork(context_TC)),
        list(hypernetwork.parameters()),
        t_TN,
        y_TN,
        steps,
    )
    plain = [layer.clone().requires_grad_() for layer in initial]
    fit(lambda: [layer.expand(tasks, *layer.shape) for layer in plain], plain, t_TN, y_TN, steps)

    held_out_TC, grid_TN = 2 * torch.rand(tasks, 3) - 1, torch.linspace(0, SECONDS, 100).expand(tasks, -1)
    truth_TN = position(held_out_TC, grid_TN)
    with torch.no_grad():
        answers = {
            "hypernetwork": predict(hypernetwork.split(hypernetwork(held_out_TC)), grid_TN),
            "plain network": predict([layer.expand(tasks, *layer.shape) for layer in plain], grid_TN),
        }
    errors = {name: (answer - truth_TN).square().mean().item() for name, answer in answers.items()}
    print(f"fitted on {tasks} tasks x {POINTS} points, evaluated on {tasks} held-out tasks")
    print(f"{'':16}mean squared error (m^2)")
    for name, error in errors.items():
        print(f"{name:16}{error:.5f}")
    draw(figure, held_out_TC, grid_TN[0], {"truth": truth_TN, **answers}, errors)
    return errors


def draw(figure: str, context_TC: Tensor, t_N: Tensor, lines: dict[str, Tensor], errors: dict[str, float]) -> None:
    """Draw four held-out tasks: the true positions, and each network's outputs."""
    styles = ({"color": "0.75", "linewidth": 6}, {"color": "C0"}, {"color": "C1", "linestyle": "--"})
    fig = Figure(figsize=(13, 3.5), layout="constrained")
    axes = fig.subplots(1, 4, sharex=True, sharey=True)
    for task, ax in enumerate(axes):
        amplitude, frequency, damping = (LOW + (HIGH - LOW) * (context_TC[task] + 1) / 2).tolist()
        for (name, y_TN), style in zip(lines.items(), styles, strict=True):
            error = f" (mean squared error {errors[name]:.4f} m²)" if name in errors else ""
            ax.plot(t_N, y_TN[task], label=name + error, **style)
        ax.set_title(f"{amplitude:.2f} m, {frequency:.2f} Hz, {damping:.2f} 1/s")
        ax.set_xlabel("time (s)")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("position (m)")
    fig.suptitle("Held-out springs: networks generated from (amplitude, frequency, damping)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    Path(figure).parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(figure, dpi=120)
    print(f"figure: {figure}")


if __name__ == "__main__":
    torch.set_num_threads(1)  # networks this small are slower on several threads
    parser = argparse.ArgumentParser(description="A hypernetwork on a family of regression problems.")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", default="runs/regression.png")
    main(**vars(parser.parse_args()))
