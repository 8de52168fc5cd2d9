"""Earlier address of ``hyperrl.envs.tasks.ode``: its public names, for who imports them from here."""

from hyperrl.envs.tasks.ode import evaluation_grid, ode1, ode2

__all__ = ["evaluation_grid", "ode1", "ode2"]
