"""Families for the ablation of encodings: trained on the inner half of every range, judged on the rest of it.

What an encoding does beyond the training range must not be chosen on the extrapolation variants that are reported.
So each family here trains on the inner half of the shipped family's training ranges, and its extrapolation split is
drawn from those training ranges themselves, half of which lies outside: twice as far as it was trained, as ODE-2's.

    python benchmarks/runner.py benchmarks/matrices/encodings.toml
"""

from __future__ import annotations

from dataclasses import replace

from hyperrl.envs import Family, Parameter, registry

SIGNED = ("pendulum_signed", "mountain_car_continuous_signed", "cartpole_continuous", "pendulum_spin")
"""Families with a parameter of both signs: it multiplies the action, and in the last one it is a target."""
POSITIVE = ("cartpole", "pendulum", "acrobot", "point")
"""Families of masses, lengths and gravity."""
ENCODINGS = {
    "linear": ("linear",),
    "linear_sign": ("linear", "sign"),
    "log_reciprocal": ("log", "reciprocal"),
    "log_reciprocal_sign": ("log", "reciprocal", "sign"),
    "linear_log_reciprocal": ("linear", "log", "reciprocal"),
    "all": ("linear", "sign", "log", "reciprocal"),
}
"""Of a range with both signs."""
OF_ONE_SIGN = {"as_shipped": (), "linear_log_reciprocal": ("linear", "log", "reciprocal")}
"""Of a range of one sign; as shipped: the two others for ranges of a decade and more only."""


def inner(parameter: Parameter) -> Parameter:
    """The parameter trained on the inner half of its range; an angle and what trains on one value stay as they are."""
    low, high = parameter.train
    if parameter.period or parameter.distractor or low == high:
        return replace(parameter, wide=parameter.train)
    if parameter.gap:
        ends = (-(parameter.gap - low) / 2, (parameter.gap + high) / 2)
    else:
        ends = ((3 * low + high) / 4, (low + 3 * high) / 4)
    if ends[0] >= ends[1] or (parameter.gap and parameter.gap >= min(-low, high)):
        return replace(parameter, wide=parameter.train)  # a sign alone
    return replace(parameter, train=ends, wide=parameter.train)


def encoded(parameter: Parameter, both: tuple[str, ...], one: tuple[str, ...]) -> Parameter:
    """The parameter with one encoding if its range has both signs, and another if it has one."""
    low, high = parameter.train
    if parameter.period or parameter.distractor or low == high:
        return parameter
    if low < 0 < high:
        return replace(parameter, scales=both)
    return parameter if parameter.admits(0.0) else replace(parameter, scales=one)


def family(name: str, label: str, both: tuple[str, ...], one: tuple[str, ...]) -> Family:
    """A shipped family on its inner half, with encodings."""
    shipped = registry.get(name)
    parameters = tuple(encoded(inner(parameter), both, one) for parameter in shipped.parameters)
    return replace(shipped, name=f"{name}.{label}", parameters=parameters, held_out={})


def __getattr__(name: str) -> Family:
    """The family ``NAME__ENCODING``, or ``NAME__inner`` with the encoding that its parameters have by themselves."""
    shipped, _, label = name.partition("__")
    if label == "inner":
        return family(shipped, label, (), ())
    if shipped in SIGNED and label in ENCODINGS:
        return family(shipped, label, ENCODINGS[label], ())
    if shipped in POSITIVE and label in OF_ONE_SIGN:
        return family(shipped, label, ("linear", "sign"), OF_ONE_SIGN[label])
    raise AttributeError(name)
