"""The examples train on the device as on the CPU: random numbers are drawn from the same streams."""

import importlib

import paths
import pytest

NAMES = {"linear_regression": "--steps 15 --points 20", "logistic_regression": "--steps 10 --samples 8 --mean 1",
         "two_layer_net": "--steps 5 --batch 4 --inputs 6 --hidden 5 --outputs 2"}


@pytest.mark.parametrize("name", NAMES)
def test_example(name, monkeypatch, tmp_path, capsys):
    for package in ("tqdm", "matplotlib"):
        pytest.importorskip(package, reason="an extra of the examples")
    monkeypatch.syspath_prepend(str(paths.ROOT / "examples"))
    module = importlib.import_module(name)
    results = []
    for device in ("cpu", "cuda"):
        module.main([*NAMES[name].split(), "--device", device, "--out", str(tmp_path)])
        results.append(capsys.readouterr().out)
    assert results[0] == results[1] and "loss" in results[0]
