"""Policies as files that need no hyperrl: for Stable-Baselines3, ONNX Runtime or plain PyTorch."""

from hyperrl.export.write import FORMATS, INDEX, check, check_files, difference, export, export_all

__all__ = ["FORMATS", "INDEX", "check", "check_files", "difference", "export", "export_all"]
