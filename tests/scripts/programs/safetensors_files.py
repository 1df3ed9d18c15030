"""Writes and reads files of the safetensors package: ``safetensors_files.py write|read FOLDER``."""

import os
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load, load_file, load_model, save, save_file, save_model

TENSORS = {"matrix": torch.arange(6.0).reshape(2, 3), "bfloat16": torch.ones(3, dtype=torch.bfloat16),
           "number": torch.tensor(3), "truth": torch.tensor([True, False]), "none": torch.zeros(0, 3),
           "half": torch.ones(2, dtype=torch.float16), "complex": torch.tensor([1 + 2j]),
           "bytes": torch.arange(3, dtype=torch.uint8)}


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
        self.b.weight = self.a.weight


def refused(call):
    try:
        call()
    except Exception as e:
        return type(e).__name__, str(e)[:200]


def write(folder):
    os.mkdir(folder)
    torch.manual_seed(0)
    save_file(TENSORS, folder + "/state", metadata={"format": "pt"})
    save_model(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)), folder + "/model")
    save_model(Tied(), folder + "/tied")
    for name in sorted(os.listdir(folder)):
        print(name, os.path.getsize(folder + "/" + name))
    print(refused(lambda: save({"a": TENSORS["matrix"].t()})))
    print(refused(lambda: save({"a": TENSORS["matrix"].to_sparse()})))
    print(sorted((name, str(t.dtype), t.tolist()) for name, t in load(save(TENSORS)).items()))


def read(folder):
    for name, t in sorted(load_file(folder + "/state").items()):
        print(name, t.dtype, t)
    with safe_open(folder + "/state", framework="pt", device="cpu") as f:
        part = f.get_slice("matrix")
        print(sorted(f.keys()), f.metadata(), f.get_tensor("matrix"), part[:, 1:2], part[0], part.get_shape(), part.get_dtype())
    for model, name in ((torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)), "model"), (Tied(), "tied")):
        print(load_model(model, folder + "/" + name))
        print(model.state_dict())
    print(model.a.weight is model.b.weight)
    before = open(folder + "/state", "rb").read()
    load_file(folder + "/state")["matrix"].fill_(7)
    print(open(folder + "/state", "rb").read() == before)


{"write": write, "read": read}[sys.argv[1]](sys.argv[2])
