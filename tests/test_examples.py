import importlib.util
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_regression_beats_a_network_that_ignores_the_descriptor(tmp_path, capsys):
    figure = tmp_path / "folder" / "regression.png"
    errors = load("regression").main(steps=200, figure=str(figure))
    assert errors["hypernetwork"] < errors["plain network"] / 2
    assert figure.stat().st_size > 10_000
    assert f"{errors['hypernetwork']:.5f}" in capsys.readouterr().out
