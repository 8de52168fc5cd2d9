"""MuJoCo's worlds in one batch of mujoco-warp, on the CPU, against MuJoCo itself."""

import importlib

import numpy as np
import pytest
import torch

from hyperrl.config import Config
from hyperrl.envs import InputError, registry, warp
from hyperrl.envs.physics import PhysicsVectorEnv
from hyperrl.envs.warp import Worlds
from hyperrl.training.trainer import Trainer

CPU = torch.device("cpu")
TASKS = ("half_cheetah", "hopper", "walker2d", "ant")
T, E, STEPS = 4, 2, 12

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def simulation(name):
    return importlib.import_module(f"hyperrl.envs.tasks.{name}").simulation


def scene(name, split="extrapolation"):
    """A family, parameters of T variants, and states of E copies at their starts."""
    family = registry.get(name)
    p = family.values(torch.as_tensor(family.variants(split, T)))
    draws = torch.rand((T, E, family.draws), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return family, p, family.start(draws, p)


def actions(family):
    drawn = torch.rand((STEPS, T, E, *family.action_space.shape), generator=torch.Generator().manual_seed(2))
    return 2 * drawn - 1


def parts(simulation, state):
    """Positions, velocities, and fields."""
    nq, nv = simulation.nominal.nq, simulation.nominal.nv
    return state[..., :nq], state[..., nq : nq + nv], state[..., nq + 2 * nv :]


@pytest.mark.parametrize("name", TASKS)
def test_steps_of_variants_are_those_of_mujoco_within_float32(name):
    """From the same states, through contacts, each variant with parameters of its own."""
    family, p, state = scene(name)
    sim = simulation(name)
    worlds = Worlds(sim.nominal, T, E, CPU, sim._fields)
    worlds.set_models(sim._models(p, T, 1))
    contacts = 0.0
    for action in actions(family):
        after, want = worlds.advance(state, action, sim.frame_skip), sim.advance(state, action, p)
        (position, velocity, fields), (of_position, of_velocity, of_fields) = parts(sim, after), parts(sim, want)
        torch.testing.assert_close(position, of_position, atol=2e-5, rtol=0)
        torch.testing.assert_close(velocity, of_velocity, atol=3e-3, rtol=1e-4)
        torch.testing.assert_close(fields, of_fields, atol=2e-2, rtol=1e-3)
        contacts += float(of_fields.abs().max()) if fields.shape[-1] else 1.0
        state = want
    assert contacts > 1


@pytest.mark.parametrize("name", TASKS)
def test_short_horizons_stay_together(name):
    family, p, state = scene(name)
    sim = simulation(name)
    worlds = Worlds(sim.nominal, T, E, CPU, sim._fields)
    worlds.set_models(sim._models(p, T, 1))
    own = state
    for action in actions(family)[:4]:
        own, state = worlds.advance(own, action, sim.frame_skip), sim.advance(state, action, p)
    torch.testing.assert_close(parts(sim, own)[0], parts(sim, state)[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", TASKS)
def test_every_constant_is_that_of_the_variants_model(name):
    """Those that MuJoCo derives among them; without them, worlds would be those of the nominal task."""
    _, p, _ = scene(name)
    sim = simulation(name)
    models = sim._models(p, T, 1)
    worlds = Worlds(sim.nominal, T, E, CPU, sim._fields)
    worlds.set_models(models)
    assert {"body_mass", "body_inertia", "body_subtreemass", "dof_damping", "actuator_gear"} <= set(worlds._set)
    assert {"body_invweight0", "dof_invweight0", "actuator_acc0", "geom_friction", "gravity"} <= set(worlds._set)
    for constant in worlds._set:
        stored = getattr(worlds._model.opt if constant == "gravity" else worlds._model, constant).numpy()
        want = np.stack([getattr(model.opt if constant == "gravity" else model, constant) for model in models])
        np.testing.assert_allclose(stored.reshape(want.shape), want, rtol=1e-6)
    worlds.set_models([sim.nominal] * T)
    np.testing.assert_allclose(worlds._model.body_mass.numpy(), [sim.nominal.body_mass] * T, rtol=1e-6)


def test_parameters_that_are_changed_in_place_are_followed():
    family, _, state = scene("hopper")
    sim = simulation("hopper")
    variants_TP = torch.as_tensor(family.variants("train", T))
    p, action = family.values(variants_TP), actions(family)[0]
    worlds, asked = Worlds(sim.nominal, T, E, CPU, sim._fields), []

    def stepped():
        worlds.follow(p, lambda: asked.append(1) or sim._models(p, T, 1))
        return worlds.advance(state, action, sim.frame_skip)

    before = stepped()
    assert torch.equal(stepped(), before)
    assert len(asked) == 1
    variants_TP.copy_(torch.as_tensor(family.variants("extrapolation", T)))
    after = stepped()
    assert len(asked) == 2
    torch.testing.assert_close(after[..., :6], sim.advance(state, action, p)[..., :6], atol=2e-5, rtol=0)
    assert (after - before).abs().max() > 1e-4


def test_what_all_worlds_share_may_not_differ():
    sim = simulation("hopper")
    model = sim.edited(sim.nominal, {})
    model.geom_type[1] += 1
    with pytest.raises(InputError, match=r"^geom_type: differs between variants, and mujoco-warp has one for all"):
        Worlds(sim.nominal, 1, 1, CPU, sim._fields).set_models([model])


@pytest.mark.parametrize("name", ["hopper", "half_cheetah_velocity", "ant_direction"])
def test_a_vector_environment_steps_where_its_states_are(name, monkeypatch):
    family = registry.get(name)
    variants_TP = family.variants("train", T)
    envs = [PhysicsVectorEnv(family, variants_TP, E, seed=3) for _ in range(2)]
    starts = [env.reset()[0] for env in envs]
    assert torch.equal(*starts)
    for action in actions(family)[:3].flatten(1, 2):
        there = envs[0].step(action)
        with monkeypatch.context() as patched:
            patched.setattr(warp, "steps_on", lambda device: True)
            here = envs[1].step(action)
        assert not torch.equal(here[0], there[0])
        torch.testing.assert_close(here[0], there[0], atol=1e-2, rtol=1e-3)
        torch.testing.assert_close(here[1], there[1], atol=1e-2, rtol=1e-3)


def test_an_agent_trains_on_such_an_environment(monkeypatch):
    monkeypatch.setattr(warp, "steps_on", lambda device: True)
    size = {"variants": T, "copies": E, "rollout": 8, "steps": 10**4, "lifetime": 0.01, "ahead": "off"}
    trainer = Trainer(registry.get("hopper"), Config(family="hopper", device="cpu", **size))
    shown = [trainer.iterate()["train/value_loss"] for _ in range(3)]
    assert np.isfinite(shown).all()


def test_only_states_on_a_gpu_are_stepped_there():
    assert not warp.steps_on(CPU)
    assert warp.steps_on(torch.device("cuda")) == warp.installed()
