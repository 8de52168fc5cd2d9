"""Stable-Baselines3's PPO, or SBX's (JAX), on Gymnasium's CartPole in its own DummyVecEnv: 256 environments."""

import argparse
import json
import time
from importlib.metadata import version
from typing import Any

from stable_baselines3.common.env_util import make_vec_env

ENVIRONMENTS, ROLLOUT, WARM = 256, 64, 2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--package", choices=("stable_baselines3", "sbx"), required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    networks: dict[str, Any] = {"net_arch": {"pi": [64, 64], "vf": [64, 64]}}
    if args.package == "sbx":
        from sbx import PPO

        networks = {"net_arch": [64, 64]}
        names = ("sbx-rl", "jax")
    else:
        import torch
        from stable_baselines3 import PPO

        torch.set_num_threads(args.threads)
        names = ("stable-baselines3", "torch")
    agent = PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", ENVIRONMENTS),
        n_steps=ROLLOUT,
        batch_size=ENVIRONMENTS * ROLLOUT // 4,
        n_epochs=4,
        policy_kwargs=networks,
        device="cpu",
    )
    each = ENVIRONMENTS * ROLLOUT
    began = time.perf_counter()
    agent.learn(WARM * each)
    warm = time.perf_counter()
    agent.learn(args.iterations * each, reset_num_timesteps=False)
    ended = time.perf_counter()
    iteration = (ended - warm) / args.iterations
    result = {
        "steps": args.iterations * each,
        "seconds": ended - warm,
        "compile_s": max(warm - began - WARM * iteration, 0.0),
        "versions": {name: version(name).partition("+")[0] for name in (*names, "gymnasium")},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
