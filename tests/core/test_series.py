"""Data in pandas objects, and in others that find elements by label, against PyTorch."""

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch")


class Labelled:
    """As a pandas Series: elements are found by label, and come in order."""

    def __init__(self, values, labels, told=None):
        self.values, self.labels, self.told = values, labels, told

    def __len__(self):
        return len(self.values) if self.told is None else self.told

    def __getitem__(self, label):
        return self.values[self.labels.index(label)]

    def __iter__(self):
        return iter(self.values)


PLAIN = {
    "usual": lambda: Labelled([1.5, 2.5, 3.5], [0, 1, 2]), "turned": lambda: Labelled([1, 2, 3], [2, 0, 1]),
    "shifted": lambda: Labelled([1, 2, 3], [5, 6, 7]), "letters": lambda: Labelled([1, 2], ["a", "b"]),
    "numbers": lambda: Labelled(list(np.array([1, 2, 3], np.float32)), [1, 2, 0]), "empty": lambda: Labelled([], []),
    "rows": lambda: [Labelled([1, 2], [1, 0]), Labelled([3, 4], [1, 0])], "texts": lambda: Labelled([1, "a"], [0, 1]),
    "digits": lambda: Labelled([1, "2"], [0, 1]), "uneven": lambda: [Labelled([1, 2], [0, 1]), Labelled([3], [0])],
    "half labelled": lambda: Labelled([1.5, 2], [0, 5]), "longer than told": lambda: Labelled([1, 2, 3], [0, 1, 2], 2)}
PANDAS = {
    "float": lambda pd: pd.Series([1.0, 2.0]), "int": lambda pd: pd.Series([1, 2]), "bool": lambda pd: pd.Series([True, False]),
    "shifted": lambda pd: pd.Series([1, 2, 3], index=[5, 6, 7]), "turned": lambda pd: pd.Series([1, 2, 3], index=[2, 0, 1]),
    "letters": lambda pd: pd.Series([1, 2], index=list("ab")), "float32": lambda pd: pd.Series(np.array([1, 2], "f4")),
    "objects": lambda pd: pd.Series([1, "a"]), "empty": lambda pd: pd.Series([], dtype=float),
    "Int64": lambda pd: pd.Series([1, 2], dtype="Int64"), "category": lambda pd: pd.Series([1, 2], dtype="category"),
    "frame": lambda pd: pd.DataFrame({"a": [1, 2], "b": [3, 4]}), "index": lambda pd: pd.Index([1, 2]),
    "column": lambda pd: pd.DataFrame({"a": [1, 2]})["a"], "list": lambda pd: [pd.Series([1.0, 2.0]), pd.Series([3.0, 4.0])]}
CALLS = {"tensor": lambda lib, x: lib.tensor(x), "float32": lambda lib, x: lib.tensor(x, dtype=lib.float32),
         "as_tensor": lambda lib, x: lib.as_tensor(x), "asarray": lambda lib, x: lib.asarray(x),
         "Tensor": lambda lib, x: lib.Tensor(x)}


def outcome(lib, call, make):
    try:
        t = CALLS[call](lib, make())
    except Exception as e:
        return type(e).__name__, str(e)
    return str(t.dtype), tuple(t.shape), t.tolist()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", PLAIN)
def test_elements_by_label(name, call):
    assert outcome(ng, call, PLAIN[name]) == outcome(torch, call, PLAIN[name])


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", PANDAS)
def test_pandas(name, call):
    pd = pytest.importorskip("pandas", reason="whose objects are the data")
    assert outcome(ng, call, lambda: PANDAS[name](pd)) == outcome(torch, call, lambda: PANDAS[name](pd))
