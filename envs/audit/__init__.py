"""Whether every declared parameter of a family changes the task: what ``hyperrl audit`` measures.

Each parameter is changed alone, from the same states under the same actions. All variants first play the same motion
with equal parameters; then each gets its changed value, and the following steps are compared. The audit needs
``Family.vector`` only: the state of an environment need not be settable.
"""

from hyperrl.envs.audit.findings import Audit, Effect, Pair
from hyperrl.envs.audit.measure import audit

__all__ = ["Audit", "Effect", "Pair", "audit"]
