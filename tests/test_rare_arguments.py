"""Calls that fuzzing found, as text that both libraries run: the same values, or exceptions of the same type."""

import warnings

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch")


def outcome(library, text):
    """The value of the last line of ``text``, printed, or the type of what it raised."""
    *before, last = [line.strip() for line in text.split(";")]
    names = {"L": library, "F": library.nn.functional, "nan": float("nan"), "inf": float("inf")}
    library.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exec("\n".join(before), names)
            value = str(eval(last, names))
        except Exception as error:
            return f"{type(error).__name__.lstrip('_')}"
    return value.replace("torch.", "").replace("numbagrad.", "")


def alike(text):
    ours, theirs = outcome(ng, text), outcome(torch, text)
    assert ours == theirs, f"{text}\nnumbagrad: {ours}\nPyTorch: {theirs}"
    return ours


POOLS = [(n, shape) for n, shapes in {
    1: ((2, 3, 0), (2, 0, 3), (0, 2, 3), (3, 0), (0, 3)),
    2: ((2, 3, 0, 4), (2, 0, 3, 4), (0, 2, 3, 4), (3, 4, 0), (0, 3, 4), (0, 4, 4, 0)),
    3: ((2, 3, 0, 4, 4), (0, 3, 4, 4, 4), (2, 0, 4, 4, 4), (3, 0, 4, 4))}.items() for shape in shapes]


@pytest.mark.parametrize(("n", "shape"), POOLS)
def test_adaptive_pools_of_empty_inputs(n, shape):
    for kind in ("max", "avg"):
        for size in (0, 1, 2):
            alike(f"F.adaptive_{kind}_pool{n}d(L.ones({shape}), {size}).tolist()")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_output_sizes_of_adaptive_pools(n):
    for size in ("None", "1.5", "'x'", [1.5] * n, (None,) * n, [], (1,), -1, [None, 2, 2][:n], [2, 1.5, 2][:n],
                 [2, True, 2][:n], [2, None, "x"][:n], 2**64, (2**62,) * n):
        alike(f"F.adaptive_avg_pool{n}d(L.ones({(2, 3, 4, 4, 4)[:n + 2]}), {size}).shape")
        alike(f"F.adaptive_max_pool{n}d(L.ones({(2, 3, 4, 4, 4)[:n + 2]}), {size}).shape")


def test_one_mean_of_everything_is_recorded_as_a_mean():
    for n in (1, 2, 3):
        alike(f"F.adaptive_avg_pool{n}d(L.ones({(2, 3, 4, 4, 4)[:n + 2]}, requires_grad=True), 1).grad_fn.name()")


def test_sizes_are_ints_in_every_place():
    for sizes in ([2, 1.5], [-1, 1.5], [1.5, -1], [2, "x"], [2, None], [2, 2**63], [2, True, 3], [], 6, (6,), "x"):
        alike(f"L.ones(2, 6).unflatten(1, {sizes}).shape")


@pytest.mark.parametrize("text", [
    "L.ones(2, 3).repeat(0, 3, 2**62)", "L.ones(2, 3).tile(0, 3, 2**62)", "L.empty(0, 2**62).repeat_interleave(4, 1)",
    "L.empty(0, 2**62, 4)", "L.zeros(0, 2**62, 4)", "L.full((0, 2**62, 4), 1.0)", "L.rand(0, 2**62, 4)",
    "L.hstack([L.empty(0, 2**62)] * 2)", "F.pad(L.empty(0, 2**62), (2**62, 0))", "L.diag_embed(L.empty(0, 2**40))",
    "L.empty(0, 2**62, 1) + L.empty(4)", "L.kron(L.empty(0, 2**62), L.empty(0, 4))",
    "F.one_hot(L.empty(0, 2**62, dtype=L.int64), 4)", "L.einsum('ab,cd->abcd', L.empty(0, 2**62), L.empty(1, 4))",
    "F.pixel_shuffle(L.empty(0, 4, 2**61, 4), 2)", "L.empty(0, 2**40).new_ones(0, 2**40, 2**40)"])
def test_sizes_of_empty_results_fit_64_bits(text):
    assert alike(text).endswith("Error")


def test_empty_tensors_of_vast_sizes():
    for text in ("", ".tolist()", ".shape", ".stride()", ".T", ".unsqueeze(1).shape", ".to(L.float64)"):
        alike(f"L.empty(0, 2**62){text}")
    alike("L.empty(2, 0, 3).tolist()")
    alike("L.empty(0, 2**62).unflatten(1, [2**31, 2**31])")
