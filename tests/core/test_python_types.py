"""Python's ``float``, ``int``, ``bool`` and ``complex`` stand for dtypes wherever an argument is one, as in PyTorch."""

import pytest
from parity import agrees

X = "torch.tensor([1.5, 2.0])"
CALLS = [
    f"{X}.to(t)", f"{X}.to('cpu', t)", f"{X}.to(dtype=t)", f"{X}.to(device='cpu', dtype=t)", f"{X}.to(t, non_blocking=True)",
    "torch.tensor([1, 2]).to(t, copy=True)", f"{X}.sum(dtype=t)", f"{X}.sum(0, dtype=t)", f"torch.nansum({X}, dtype=t)",
    f"torch.prod({X}, dtype=t)", f"torch.nanmean({X}, dtype=t)", f"{X}.double().view(t)", f"{X}.cumsum(0, dtype=t)",
    f"torch.softmax({X}, 0, dtype=t)", "torch.nn.Linear(1, 1).to(t).weight.dtype",
    "torch.nn.Linear(1, 1).to('cpu', t).bias.dtype",
    "torch.nn.Linear(1, 1).to(dtype=t).bias.dtype", "torch.zeros(2, dtype=t)", "torch.tensor([1], dtype=t)",
    "torch.scalar_tensor(1, dtype=t)", "torch.arange(3, dtype=t)", "torch.eye(1, dtype=t)", "torch.full((1,), 2, dtype=t)",
    "torch.ones_like(torch.ones(2), dtype=t)", "torch.ones(2).new_zeros(1, dtype=t)",
    "torch.empty_strided((1,), (1,), dtype=t).dtype",
    "torch.sparse_coo_tensor([[0]], [1], (1,), dtype=t, check_invariants=True).dtype", "torch.can_cast(t, torch.float64)",
    "torch.can_cast(torch.float32, t)", "torch.promote_types(t, torch.int32)", "torch.promote_types(torch.float32, t)",
    "torch.promote_types(t, t)", "torch.zeros(1).type(t)", "torch.nn.BatchNorm1d(2).type(t)",
]
KINDS = {"float": [f"torch.mean({X}, dtype=t)", "torch.hann_window(3, dtype=t)", "torch.logspace(0, 1, 2, dtype=t)",
                   "torch.range(0, 1, dtype=t)", "torch.finfo(t).bits", "torch.linspace(0, 1, 3, dtype=t)",
                   "torch.iinfo(t).bits"],
         "int": ["torch.logspace(0, 1, 2, dtype=t)", "torch.range(0, 2, dtype=t)", "torch.iinfo(t).bits",
                 "torch.randperm(1, dtype=t)", "torch.hann_window(3, dtype=t)", f"torch.mean({X}, dtype=t)"],
         "complex": ["torch.finfo(t).bits"], "bool": ["torch.iinfo(t).bits", f"torch.mean({X}, dtype=t)"]}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_stands_for_a_dtype(kind):
    for call in CALLS + KINDS[kind]:
        if kind == "bool" and "arange" in call or kind == "bool" and "cumsum" in call or (
                kind == "complex" and "torch.nan" in call) or kind in ("int", "bool") and "softmax" in call:
            continue  # which PyTorch has no kernel for

        def said(lib, call=call):
            try:
                found = eval(call, {"torch": lib, "t": {"float": float, "int": int, "bool": bool, "complex": complex}[kind]})
            except Exception as e:
                return type(e).__name__, str(e)
            return call, str(found), str(getattr(found, "dtype", ""))
        agrees(said)


def test_other_types_do_not():
    for call in ("torch.ones(2).to(str)", "torch.ones(2).to(dtype=list)", "torch.ones(2).sum(dtype=str)",
                 "torch.nn.Linear(1, 1).to(str)", "torch.ones(2).view(str)", "torch.promote_types(str, torch.float32)",
                 "torch.can_cast(str, torch.float32)"):
        def said(lib, call=call):
            with pytest.raises((TypeError, AttributeError)):
                eval(call, {"torch": lib})
            return call
        agrees(said)
