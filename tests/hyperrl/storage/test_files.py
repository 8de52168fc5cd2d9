import os
from pathlib import Path

import pytest

from hyperrl.envs import InputError
from hyperrl.storage.files import require_output, write_atomically

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


def mode(path):
    return oct(path.stat().st_mode & 0o777)


@pytest.mark.skipif(os.name != "posix", reason="permissions and links are POSIX's")
def test_what_is_written_keeps_its_permissions_and_follows_no_link(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "new.json", lambda file: file.write_text("new"))
    finally:
        os.umask(before)
    assert mode(tmp_path / "new.json") == "0o640"
    (tmp_path / "new.json").chmod(0o404)
    write_atomically(tmp_path / "new.json", lambda file: file.write_text("newer"))
    assert (mode(tmp_path / "new.json"), (tmp_path / "new.json").read_text()) == ("0o404", "newer")
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "link.json").symlink_to(tmp_path / "victim")
    write_atomically(tmp_path / "link.json", lambda file: file.write_text("new"))
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "link.json").is_symlink()


def test_names_of_temporary_files_cannot_be_guessed_and_none_is_left(tmp_path):
    names = []
    for stop in (None, OSError(28, "No space left on device"), RuntimeError("disk"), KeyboardInterrupt()):

        def write(file, stop=stop):
            names.append(file.name)
            assert file.parent == tmp_path
            assert file.read_bytes() == b""
            file.write_text(str(stop))
            if stop:
                raise stop

        if stop is None:
            write_atomically(tmp_path / "a.json", write)
            continue
        expected = InputError if isinstance(stop, OSError) else type(stop)
        with pytest.raises(expected):
            write_atomically(tmp_path / "a.json", write)
    assert len(set(names)) == 4
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "None"


def test_a_planted_file_of_that_name_is_never_written_into(tmp_path, monkeypatch):
    """Were the name known after all, the link that waits there would not be followed."""
    monkeypatch.setattr("secrets.token_hex", lambda _: "known")
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".a.json.known.tmp").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match="File exists"):
        write_atomically(tmp_path / "a.json", lambda file: file.write_text("new"))
    assert (tmp_path / "victim").read_text() == "mine"
