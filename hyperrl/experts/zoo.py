"""Settings in the notation of rl-baselines3-zoo's files, read without executing any of it.

Raffin, 2020, https://github.com/DLR-RM/rl-baselines3-zoo, hyperparams/ppo.yml.
"""

from __future__ import annotations

import ast
from typing import Any

from hyperrl.envs import InputError

_MODULES = ("nn", "th.nn", "torch.nn")


def literal(name: str, text: str) -> Any:
    """The value of a text such as ``"dict(net_arch=[64], activation_fn=nn.ReLU)"``.

    Numbers, texts, lists and dictionaries are themselves, ``dict`` with keywords is a dictionary, and a class of
    ``torch.nn`` is its name.

    Raises:
        InputError: anything else.
    """
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        readable = "numbers, texts, lists, dict(NAME=VALUE) and nn.NAME"
        raise InputError(f"{name}={shown!r}: only {readable} are read in a text; write it so") from None


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {_text(key): _value(value) for key, value in zip(keys, values, strict=True)}
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=pairs) if all(pair.arg for pair in pairs):
            return {pair.arg: _value(pair.value) for pair in pairs}
        case ast.Attribute(value=module, attr=name) if ast.unparse(module) in _MODULES:
            return name
    raise ValueError(node)


def _text(node: ast.expr | None) -> str:
    match node:
        case ast.Constant(value=str() as text):
            return text
    raise ValueError(node)
