"""Networks and losses.

An arm answers ``generate(context_TC) -> weights_TD`` and ``forward(weights_TD, obs_TNO, state_TNH) -> (distribution,
value_TN, state_TNH)``; see ``hyperrl.agents.agent.Agent``. ``ARMS`` maps each arm's name to its class.
"""

from __future__ import annotations

from hyperrl.agents.agent import Agent
from hyperrl.agents.arms.adapter import AdapterAgent
from hyperrl.agents.arms.blind import BlindAgent
from hyperrl.agents.arms.cgate import CGateAgent
from hyperrl.agents.arms.concat import ConcatAgent
from hyperrl.agents.arms.concat_wide import ConcatWideAgent
from hyperrl.agents.arms.film import FilmAgent
from hyperrl.agents.arms.hyper import HyperAgent
from hyperrl.agents.arms.hyper_chunked import HyperChunkedAgent
from hyperrl.agents.arms.hyper_lowrank import HyperLowRankAgent
from hyperrl.agents.arms.recurrent import RecurrentAgent
from hyperrl.agents.spec import AgentSpec

__all__ = ["ARMS", "Agent", "AgentSpec"]

ARMS: dict[str, type[Agent]] = {
    "hyper": HyperAgent,
    "concat": ConcatAgent,
    "blind": BlindAgent,
    "concat_wide": ConcatWideAgent,
    "film": FilmAgent,
    "cgate": CGateAgent,
    "adapter": AdapterAgent,
    "hyper_lowrank": HyperLowRankAgent,
    "hyper_chunked": HyperChunkedAgent,
    "recurrent": RecurrentAgent,
}
