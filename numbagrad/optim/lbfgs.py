"""L-BFGS: steps along a direction that remembers how the gradient changed over the last steps."""

import math

import numbagrad as ng

from ..core.tensor import Tensor
from .optimizer import Optimizer

__all__ = ["LBFGS"]


class LBFGS(Optimizer):
    """Limited-memory BFGS; each step runs up to ``max_iter`` iterations and calls the closure in every one.

    ``line_search_fn="strong_wolfe"`` searches along each direction, otherwise the step is ``lr``. Ends early when no
    gradient element exceeds ``tolerance_grad``, when loss or parameters change by less than ``tolerance_change``, or
    after ``max_eval`` (5/4 max_iter) evaluations. One group of parameters only.
    """

    def __init__(
        self,
        params,
        lr=1,
        max_iter=20,
        max_eval=None,
        tolerance_grad=1e-7,
        tolerance_change=1e-9,
        history_size=100,
        line_search_fn=None,
    ):
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not 0.0 <= lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self):
        return self.param_groups[0]["params"]

    def _gather_flat_grad(self):
        """All gradients as one vector, complex ones as pairs, missing ones as zeros."""
        parts = []
        for p in self._params:
            g = p.new_zeros(p.shape) if p.grad is None else p.grad
            parts.append((ng.view_as_real(g.contiguous()) if g.is_complex() else g).reshape(-1))
        return ng.cat(parts, 0)

    def _add_grad(self, step_size, update):
        at, step_size = 0, _float(step_size)
        for p in self._params:
            values = ng.view_as_real(p) if p.is_complex() else p
            n = values.numel()
            values.add_(update[at : at + n].view_as(values), alpha=step_size)
            at += n

    def _clone_param(self):
        return [p.clone(memory_format=ng.contiguous_format) for p in self._params]

    def _set_param(self, params_data):
        for p, kept in zip(self._params, params_data, strict=True):
            p.copy_(kept)

    def _directional_evaluate(self, closure, x, t, d):
        """Loss and gradient a step t along d from where the parameters are, which is x."""
        self._add_grad(t, d)
        loss = _float(closure())
        grad = self._gather_flat_grad()
        self._set_param(x)
        return loss, grad

    def step(self, closure):
        """Minimize along up to ``max_iter`` directions; returns the loss at the start."""
        if len(self.param_groups) != 1:
            raise AssertionError(f"Expected exactly one param_group, but got {len(self.param_groups)}")
        with ng.no_grad():
            return self._minimize(ng.enable_grad()(closure))

    def _minimize(self, closure):
        group = self.param_groups[0]
        max_iter, max_eval, history = group["max_iter"], group["max_eval"], group["history_size"]
        small_grad, small_change = group["tolerance_grad"], group["tolerance_change"]
        lr = group["lr"].squeeze() if isinstance(group["lr"], Tensor) else group["lr"]
        # One state for all parameters, kept under the first so that loading casts it.
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        first_loss = closure()
        loss, grad, evals = _float(first_loss), self._gather_flat_grad(), 1
        state["func_evals"] += 1
        if grad.abs().max().item() <= small_grad:
            return first_loss
        memory = {name: state.get(name) for name in ("d", "t", "old_dirs", "old_stps", "ro", "H_diag")}
        previous, previous_loss = state.get("prev_flat_grad"), state.get("prev_loss")
        for iteration in range(1, max_iter + 1):
            state["n_iter"] += 1
            started = state["n_iter"] == 1
            if started:
                memory.update(d=grad.neg(), old_dirs=[], old_stps=[], ro=[], H_diag=1)
            else:
                self._direction(memory, grad, previous, history)
            d = memory["d"]
            if previous is None:
                previous = grad.clone(memory_format=ng.contiguous_format)
            else:
                previous.copy_(grad)
            previous_loss = loss
            # Numbers of the search are tensors of the parameters' dtype, in which they are rounded, or Python's.
            memory["t"] = t = min(1.0, 1.0 / grad.abs().sum()) * lr if started else lr
            slope = grad.dot(d)
            if slope.item() > -small_change:
                break
            used = 0
            if group["line_search_fn"] is not None:
                if group["line_search_fn"] != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")

                def along(t, x=self._clone_param(), d=d):  # noqa: B008  where the search begins, anew in each iteration
                    return self._directional_evaluate(closure, x, t, d)

                loss, grad, t, used = _strong_wolfe(along, t, d, loss, grad, slope, most=max_eval - evals)
                memory["t"] = t
                self._add_grad(t, d)
            else:
                self._add_grad(t, d)
                # After the last iteration nobody would look at the loss.
                if iteration != max_iter:
                    loss, grad, used = _float(closure()), self._gather_flat_grad(), 1
            evals += used
            state["func_evals"] += used
            if (
                iteration == max_iter
                or evals >= max_eval
                or grad.abs().max().item() <= small_grad
                or d.abs().max().item() * abs(_float(t)) <= small_change
                or abs(loss - previous_loss) < small_change
            ):
                break
        state.update(memory, prev_flat_grad=previous, prev_loss=previous_loss)
        return first_loss

    def _direction(self, memory, grad, previous, history):
        """Remember the last step and put minus the approximate inverse Hessian times the gradient in ``memory["d"]``."""
        changes, steps, inverse = memory["old_dirs"], memory["old_stps"], memory["ro"]
        change, moved = grad.sub(previous), memory["d"].mul(memory["t"])
        curvature = change.dot(moved)
        if curvature.item() > 1e-10:
            if len(changes) == history:
                for kept in (changes, steps, inverse):
                    kept.pop(0)
            changes.append(change)
            steps.append(moved)
            inverse.append(1.0 / curvature)
            memory["H_diag"] = curvature / change.dot(change)
        d = grad.neg()
        al = self.state[self._params[0]].setdefault("al", [None] * history)
        for i in range(len(changes) - 1, -1, -1):
            al[i] = steps[i].dot(d) * inverse[i]
            d.add_(changes[i], alpha=-al[i].item())
        d = d.mul(memory["H_diag"])
        for i in range(len(changes)):
            d.add_(steps[i], alpha=(al[i] - changes[i].dot(d) * inverse[i]).item())
        memory["d"] = d


def _float(value):
    """The value of a tensor, such as what a closure returned, or of a number."""
    return value.item() if isinstance(value, Tensor) else float(value)


def _cubic_minimum(x1, f1, g1, x2, f2, g2, low=None, high=None):
    """Where the cubic through two points with these slopes is least, within [low, high] or between the points."""
    if low is None:
        low, high = (x1, x2) if x1 <= x2 else (x2, x1)
    a = g1 + g2 - 3 * (f1 - f2) / (x1 - x2) if x1 != x2 else g1 * math.nan
    square = a**2 - g1 * g2
    if not square >= 0:
        return (low + high) / 2.0
    root = square.sqrt()
    if x1 <= x2:
        x = x2 - (x2 - x1) * ((g2 + root - a) / (g2 - g1 + 2 * root))
    else:
        x = x1 - (x1 - x2) * ((g1 + root - a) / (g1 - g2 + 2 * root))
    return min(max(x, low), high)


def _strong_wolfe(along, t, d, loss, grad, slope, most, armijo=1e-4, curvature=0.9, small_change=1e-9):
    """A step t with loss(t) <= loss + armijo t slope and |slope(t)| <= curvature |slope|: (loss, grad, t, evaluations).

    First steps grow until two of them hold such a point between them, then that bracket shrinks.
    """
    width = d.abs().max()

    def tried(t):
        f, g = along(t)
        return t, f, g, g.dot(d)

    flat = -curvature * slope

    def good(point):
        return abs(point[3]) <= flat

    def high(point):
        return point[1] > loss + armijo * point[0] * slope

    origin = (0, loss, grad, slope)
    before, here, count, done, bracket = origin, tried(t), 1, False, None
    searched = 0
    while searched < most:
        if high(here) or (searched > 1 and here[1] >= before[1]):
            bracket = [before, here]
        elif good(here):
            bracket, done = [here], True
        elif here[3] >= 0:
            bracket = [before, here]
        if bracket is not None:
            break
        t = here[0]
        t = _cubic_minimum(
            before[0], before[1], before[3], t, here[1], here[3], t + 0.01 * (t - before[0]), t * 10
        )
        before, here = here, tried(t)
        count += 1
        searched += 1
    if bracket is None:
        bracket = [origin, here]
    low, top = (0, 1) if bracket[0][1] <= bracket[-1][1] else (1, 0)
    stuck = False
    while not done and searched < most:
        (left, fl, _, sl), (right, fr, _, sr) = bracket
        if abs(right - left) * width < small_change:
            break
        t = _cubic_minimum(left, fl, sl, right, fr, sr)
        least, farthest = min(left, right), max(left, right)
        margin = 0.1 * (farthest - least)
        if min(farthest - t, t - least) < margin:
            # Close to an end twice in a row, or at it: a tenth of the bracket away from there instead.
            if stuck or t >= farthest or t <= least:
                t = farthest - margin if abs(t - farthest) < abs(t - least) else least + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        here = tried(t)
        count += 1
        searched += 1
        if high(here) or here[1] >= bracket[low][1]:
            bracket[top] = here
            low, top = (0, 1) if bracket[0][1] <= bracket[1][1] else (1, 0)
        else:
            if good(here):
                done = True
            elif here[3] * (bracket[top][0] - bracket[low][0]) >= 0:
                bracket[top] = bracket[low]
            bracket[low] = here
    t, loss, grad, _ = bracket[low]
    return loss, grad, t, count
