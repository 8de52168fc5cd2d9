"""Names of families: shipped ones, and those of other packages."""

from importlib.metadata import EntryPoint

import pytest

from hyperrl.envs import InputError, registry

FAMILIES = [registry.get(name) for name in registry.families()]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def register(monkeypatch, value, name="toy"):
    """Let other packages register values under a name."""
    points = [EntryPoint(name, one, registry.ENTRY_POINT_GROUP) for one in value.split()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == registry.ENTRY_POINT_GROUP else [])


def test_other_packages_register_families_by_entry_point(monkeypatch, tmp_path):
    """An installed package, as far as Python can tell."""
    package = tmp_path / "toys-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[hyperrl.families]\ntoy = toys_of_a_test:family\n")
    (tmp_path / "toys_of_a_test.py").write_text("from hyperrl.envs.tasks.pendulum import signed as family\n")
    assert "toy" not in registry.families()
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.families()[-1] == "toy"
    assert registry.get("toy").name == "pendulum_signed"
    assert registry.env_id("toy") == registry.extra("toy") == ""


def test_a_name_that_is_taken_is_listed_once_and_said(monkeypatch):
    register(monkeypatch, "mine.tank:family", "cartpole")
    said = "family 'cartpole': entry point 'mine.tank:family' of another package is left out, because "
    with pytest.warns(UserWarning, match=f"^{said}this package has that name; register it under another name$"):
        assert registry.families().count("cartpole") == 1
    with pytest.warns(UserWarning, match=said):
        assert registry.get("cartpole") is registry.get("cartpole")
    register(monkeypatch, "hyperrl.envs.tasks.pendulum:family hyperrl.envs.tasks.ode:ode1")
    with pytest.warns(
        UserWarning, match="entry point 'hyperrl.envs.tasks.ode:ode1' .* because hyperrl.envs.tasks.pendulum:family has"
    ):
        assert registry.families().count("toy") == 1
    with pytest.warns(UserWarning, match="left out"):
        assert registry.get("toy").name == "pendulum"
    register(monkeypatch, "hyperrl.envs.tasks.pendulum:family hyperrl.envs.tasks.pendulum:family")
    assert registry.families().count("toy") == 1


@each_family
def test_ids_are_known_without_the_family(family):
    assert registry.env_id(family.name) == family.env_id


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no_such_module:family", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'; mend"),
        ("hyperrl.envs.tasks.pendulum:famly", "cannot be loaded: AttributeError: .*; mend or uninstall that package"),
        ("hyperrl.envs.tasks.pendulum:step", "is not a hyperrl.envs.Family but a function"),
    ],
)
def test_a_broken_entry_point_is_named(monkeypatch, value, reason):
    register(monkeypatch, value)
    with pytest.raises(InputError, match=f"^family 'toy': entry point '{value}' of another package {reason}"):
        registry.get("toy")
