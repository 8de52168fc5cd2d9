"""rsl-rl's PPO (PyTorch) on Gymnasium's own vectorised CartPole: 256 environments.

Its policies are Gaussian: the sign of the action is the direction of the push.
"""

import argparse
import contextlib
import json
import sys
import time
from importlib.metadata import version

import gymnasium
import torch
from rsl_rl.env import VecEnv
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict

ENVIRONMENTS, ROLLOUT, WARM = 256, 64, 2
MODEL = {"class_name": "MLPModel", "hidden_dims": [64, 64], "activation": "tanh"}


class CartPole(VecEnv):
    """Gymnasium's vector environment, as rsl-rl wants it."""

    def __init__(self) -> None:
        self.env = gymnasium.make_vec("CartPole-v1", ENVIRONMENTS, vectorization_mode="vector_entry_point")
        self.num_envs, self.num_actions, self.device, self.cfg = ENVIRONMENTS, 1, "cpu", {}
        self.max_episode_length = 500
        self.episode_length_buf = torch.zeros(ENVIRONMENTS, dtype=torch.long)
        self.obs, _ = self.env.reset(seed=0)

    def get_observations(self) -> TensorDict:
        """Of all environments."""
        return TensorDict({"policy": torch.as_tensor(self.obs)}, batch_size=[ENVIRONMENTS])

    def step(self, actions: torch.Tensor) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict]:
        """One step of all environments."""
        pushes = (actions[:, 0] > 0).long().numpy()
        self.obs, reward, terminated, truncated, _ = self.env.step(pushes)
        extras = {"time_outs": torch.as_tensor(truncated)}
        return self.get_observations(), torch.as_tensor(reward).float(), torch.as_tensor(terminated | truncated), extras


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = {
        "num_steps_per_env": ROLLOUT,
        "save_interval": 10**9,
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "actor": {**MODEL, "distribution_cfg": {"class_name": "GaussianDistribution"}},
        "critic": MODEL,
        "algorithm": {"class_name": "PPO", "num_learning_epochs": 4, "num_mini_batches": 4},
    }
    with contextlib.redirect_stdout(sys.stderr):
        runner = OnPolicyRunner(CartPole(), settings, device="cpu")
        began = time.perf_counter()
        runner.learn(WARM)
        warm = time.perf_counter()
        runner.learn(args.iterations)
        ended = time.perf_counter()
    iteration = (ended - warm) / args.iterations
    result = {
        "steps": args.iterations * ENVIRONMENTS * ROLLOUT,
        "seconds": ended - warm,
        "compile_s": max(warm - began - WARM * iteration, 0.0),
        "versions": {name: version(name).partition("+")[0] for name in ("rsl-rl-lib", "torch", "gymnasium")},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
