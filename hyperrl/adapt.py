"""The public name of adaptation to several variants at once; ``Run.adapt`` takes one."""

from hyperrl.adaptation.result import Adaptation
from hyperrl.adaptation.session import MODES
from hyperrl.api import adapt

__all__ = ["MODES", "Adaptation", "adapt"]
