import os
from pathlib import Path

import pytest

from hyperrl.envs import InputError
from hyperrl.storage.files import require_output

OWN = ("config.json", "CONFIG.JSON", "checkpoint.pt", "checkpoint.previous.pt", "encoder.pt", "lock")


def refuse(path, match, suffixes=(".json",), force=False):
    with pytest.raises(InputError, match=match) as caught:
        require_output(Path(path), suffixes, force)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*OWN, "events.out.tfevents.17.host.1.0"])
def test_a_runs_own_files_are_never_an_output(tmp_path, name):
    """Whether the file is there yet or not, and whatever --force says."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        refuse(folder / name, "is a file of the run in .*never overwritten; name another", (".json", ".pt"), force=True)
    assert (tmp_path / "config.json").read_text() == "{}"
    (tmp_path / "config.json").unlink()
    require_output(tmp_path / "config.json", (".json",))


def test_what_is_there_is_overwritten_with_force_only(tmp_path):
    path = tmp_path / "mine.json"
    require_output(path, (".json",))
    path.write_text("mine")
    refuse(path, "is there already; overwrite it with --force, or choose another name")
    require_output(path, (".json",), force=True)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["x.mp4", "x.nope", "x.jpg", "x", "gif", ".gif", "x.gif.png"])
def test_a_suffix_is_what_it_says(tmp_path, name):
    refuse(tmp_path / name, r"must end in \.gif, which is what is written; name it so", (".gif",))
    require_output(tmp_path / "x.GIF", (".gif",))


def test_no_folder_no_link_no_device(tmp_path):
    (tmp_path / "folder.json").mkdir()
    refuse(tmp_path / "folder.json", "is a folder; name a file", force=True)
    os.mkfifo(tmp_path / "pipe.json")
    refuse(tmp_path / "pipe.json", "is no regular file", force=True)
    for target in ("victim", "missing"):
        (tmp_path / f"{target}.json").symlink_to(tmp_path / target)
        refuse(tmp_path / f"{target}.json", "is a link; name the file itself", force=True)
    for device in ("/dev/null", "/dev/full", "/dev/stdout"):
        refuse(device, f"{device}: ", force=True)


@pytest.mark.parametrize("name", ["a\nb.json", "\x1b[2J.json", "a\0b.json", "\udcff.json", "\u202efig.json"])
def test_a_name_can_be_printed(tmp_path, name):
    refuse(tmp_path / name, "has characters that cannot be printed; choose another name")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    refuse(tmp_path / "file" / "x.json", r"x\.json: cannot be written \(Not a directory\)")
    refuse(tmp_path / f"{300 * 'x'}.json", r"cannot be written \(File name too long\)")
    require_output(tmp_path / "new" / "newer" / "x.json", (".json",))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file"], "asking leaves nothing behind"
