"""``torch.hub`` with a folder of this machine, and files that were downloaded before, beside PyTorch's."""

from __future__ import annotations

import sys

import pytest

import numbagrad as ng
from numbagrad.utils import model_zoo

HUBCONF = '''
dependencies = ["sys"]
import beside

def doubled(x, *, plus=0):
    """Twice."""
    return beside.TWO * x + plus

number = 3
'''


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    (tmp_path / "beside.py").write_text("TWO = 2\n")
    yield str(tmp_path)
    sys.modules.pop("beside", None)


def outcome(call):
    try:
        return call()
    except Exception as e:
        return type(e), str(e)


def test_entry_of_a_folder(repository):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    path = list(sys.path)
    for lib in (ng, torch):
        sys.modules.pop("beside", None)
        assert lib.hub.load(repository, "doubled", 3, source="local", plus=1) == 7 and sys.path == path
    for name in ("number", "nothing", 3):
        assert outcome(lambda n=name: ng.hub.load(repository, n, source="local")) == outcome(
            lambda n=name: torch.hub.load(repository, n, source="local"))
    assert outcome(lambda: ng.hub.load(repository, "doubled", source="other")) == outcome(
        lambda: torch.hub.load(repository, "doubled", source="other"))
    with open(f"{repository}/hubconf.py", "a") as f:
        f.write('dependencies = ["a_package_that_is_not_here"]\n')
    assert outcome(lambda: ng.hub.load(repository, "doubled", 3, source="local")) == outcome(
        lambda: torch.hub.load(repository, "doubled", 3, source="local")) == (
        RuntimeError, "Missing dependencies: a_package_that_is_not_here")


def test_file_that_was_downloaded_before(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(ng.hub, "_folder", [None])
    url = "https://example.org/models/net-0123abcd.pth?download=1"
    with pytest.raises(RuntimeError, match="downloads nothing; put the file of https://example.org"):
        ng.hub.load_state_dict_from_url(url)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    ng.save({"w": ng.arange(3)}, str(folder / "net-0123abcd.pth"))
    ng.save({"w": ng.arange(4)}, str(tmp_path / "other.pth"))
    assert ng.hub.load_state_dict_from_url(url)["w"].tolist() == [0, 1, 2]
    assert model_zoo.load_url(url, weights_only=True)["w"].tolist() == [0, 1, 2]
    assert ng.hub.load_state_dict_from_url(url, str(tmp_path), file_name="other.pth")["w"].shape == (4,)
    assert ng.hub.HASH_REGEX.search(url)[1] == "0123abcd" and ng.hub._get_torch_home() == str(tmp_path)
