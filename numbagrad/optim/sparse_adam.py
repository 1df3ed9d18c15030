"""SparseAdam: Adam for gradients that hold a few rows of their parameter."""

from ..core.creation import zeros_like
from . import _sparse
from ._tabled import check_betas, check_lr_is_single
from .optimizer import Optimizer, _closure_loss

__all__ = ["SparseAdam"]


class SparseAdam(Optimizer):
    """Adam that changes means and parameters only where a sparse gradient has values; dense gradients are refused."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, maximize=False):
        check_lr_is_single(lr)
        if not 0.0 < lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 < eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        places = [((i, j), p) for i, group in enumerate(self.param_groups) for j, p in enumerate(group["params"])]
        sparse = [list(at) for at, p in places if p.is_sparse]
        if sparse:
            raise ValueError(f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors")
        cplx = [list(at) for at, p in places if p.is_complex()]
        if cplx:
            raise ValueError(f"Complex params at indices {cplx}: SparseAdam does not support complex parameters")

    def step(self, closure=None):
        """One update; returns what ``closure`` returned."""
        loss = _closure_loss(closure)
        for group in self.param_groups:
            given = [p for p in group["params"] if p._grad is not None]
            if not all(p._grad.is_sparse for p in given):
                raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
            for p in given:
                own = self.state[p]
                if not own:
                    own.update(step=0, **{name: zeros_like(p, requires_grad=False) for name in ("exp_avg", "exp_avg_sq")})
                _sparse.adam(p, p._grad, own, group)
        return loss
