"""rejax's PPO (JAX) on gymnax's CartPole: 256 environments, compiled with the training loop; nothing is evaluated."""

import argparse
import json
import time
from importlib.metadata import version

import jax
from rejax import PPO

ENVIRONMENTS, ROLLOUT = 256, 64


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, required=True)
    args = parser.parse_args()
    steps = ENVIRONMENTS * ROLLOUT * args.iterations
    agent = PPO.create(
        env="CartPole-v1",
        num_envs=ENVIRONMENTS,
        num_steps=ROLLOUT,
        num_epochs=4,
        num_minibatches=4,
        agent_kwargs={"hidden_layer_sizes": (64, 64), "activation": "tanh"},
        learning_rate=3e-4,
        max_grad_norm=0.5,
        total_timesteps=steps,
        eval_freq=steps,
        skip_initial_evaluation=True,
    ).replace(eval_callback=lambda algorithm, state, key: ())
    key = jax.random.PRNGKey(0)
    began = time.perf_counter()
    train = jax.jit(lambda key: agent.train(key)).lower(key).compile()
    compiled = time.perf_counter()
    jax.block_until_ready(train(key))  # memory is fetched in the first run
    warm = time.perf_counter()
    jax.block_until_ready(train(key))
    seconds = time.perf_counter() - warm
    versions = {name: version(name) for name in ("rejax", "gymnax", "jax")}
    print(json.dumps({"steps": steps, "seconds": seconds, "compile_s": compiled - began, "versions": versions}))


if __name__ == "__main__":
    main()
