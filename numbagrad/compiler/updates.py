"""Updates of optimizers, and their settings, which each call reads anew."""

from __future__ import annotations

from ..core.tensor import Tensor
from ..kernel.tape import Unlowered
from . import symbols
from .effects import effects
from .files import trusted
from .ir import Optim, Ptr
from .places import Content, Entry
from .refusals import set_before


class Updates:
    """The part of a recorder that optimizers call."""

    def setting(self, t):
        """An optimizer setting given as a tensor: read now, and again whenever it may have changed."""
        b = self.buffers.get(id(t._buf))
        if b is not None and (b.fake or any([b in call.writes for call in self.calls])):
            raise set_before("writes a setting")
        with self.pause():
            return t.item()

    def optimize(self, kernel, tables, changed, shared):
        """An optimizer's update of one group."""
        for state in self.optimizer.state.values():
            for t in state.values() if isinstance(state, dict) else ():
                if isinstance(t, Tensor):
                    self.buffer(t)
        run = self.runs[id(self.optimizer)] = self.runs.get(id(self.optimizer), -1) + 1
        for kind, cells in tables.items():
            if not cells:
                continue
            kinds = kernel.parameters({})[:kernel.rows]
            reads, writes = effects(kernel.fn)
            rows, read, written = [], [], []
            for i, value in enumerate(cells):
                name, k = kinds[i % kernel.rows]
                if k in ("i", "f") or not value:
                    rows.append(int(value))
                    continue
                p = self.pointer(value, name, False, ())
                if p.__class__ is not Ptr:
                    raise Unlowered("updates memory that is no tensor's")
                rows.append(p)
                if name in reads:
                    read.append(p.buffer)
                if name in writes:
                    written.append(p.buffer)
            self.add(Optim(kernel, kind.dtype, rows, list(shared), read, written, self.optimizer, run, layout(kernel, tables),
                           list(changed)))

    def stepping(self, optimizer):
        """An optimizer's step begins."""
        if id(optimizer) not in self.optimizers:
            state = {k: (v, dict(v)) if isinstance(v, dict) else (v, None) for k, v in optimizer.state.items()}
            self.optimizers[id(optimizer)] = optimizer, state
        for group in optimizer.param_groups:
            for p in group["params"]:
                self.leaf(p)
                self.buffer(p)

    def steps(self, step):
        """What stands for an optimizer's ``step`` function."""
        def run(optimizer, *args, **kwargs):
            self.stepping(optimizer)
            before, self.optimizer = self.optimizer, optimizer
            followed, runs = self._followed(optimizer), self.runs.get(id(optimizer))
            try:
                return step(optimizer, *args, **kwargs)
            finally:
                if trusted(step.__code__.co_filename):
                    self.updates[id(optimizer)] = step
                    if self.runs.get(id(optimizer)) == runs:
                        self.compose()
                self.optimizer = before
                for group, name, value in followed:
                    group[name] = value
        return run

    def compose(self):
        """An update is made of tensor operations, which are given the settings as they are now."""
        self.composed.add(id(self.optimizer))

    def _followed(self, optimizer):
        """Settings that are followed numbers become plain ones for its step: calls read them anew, at their start."""
        found = [(group, name, v) for group in optimizer.param_groups for name, v in group.items()
                 if isinstance(v, symbols.Symbol)]
        written = self.observer.written if self.observer is not None else {}
        for group in optimizer.param_groups if found or written else ():
            _, whole = written.get(Content(group).key, (None, None))
            before = None if whole is None else dict(zip(whole[::2], whole[1::2]))
            for name, v in group.items():
                key = Entry(group, name).key
                was = before.get(name) if before is not None else written[key][1] if key in written else v
                if v is not was or isinstance(v, symbols.Symbol) and self.planted.get(key) is not v:
                    raise set_before(f"sets '{name}'")
        for group, name, v in found:
            group[name] = v.plain
        return found


def layout(kernel, tables):
    """Which addresses in an optimizer's tables are null, by kind: memory that other settings need is another program."""
    addresses = [kind not in ("i", "f") for _, kind in kernel.parameters({})[:kernel.rows]]
    return {kind: [not v for i, v in enumerate(cells) if addresses[i % kernel.rows]] for kind, cells in tables.items()}
