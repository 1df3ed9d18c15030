"""The graph of a model for TensorBoard: the nodes that a run records, in the modules that they were recorded in."""

from __future__ import annotations

from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.config_pb2 import RunMetadata
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.step_stats_pb2 import DeviceStepStats, StepStats
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.versions_pb2 import VersionDef

from ...base.modes import enable_grad
from ...core import graph as recorded
from ...core.tensor import Tensor


def tensors_of(value):
    """The tensors in nested arguments or results."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors_of(v)] if isinstance(value, (list, tuple)) else []


def graph(model, args, verbose=False, use_strict_trace=True):
    """(graph, statistics) of a run of ``model`` with ``args`` in evaluation mode."""
    args = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    training = model.training
    model.eval()
    try:
        nodes = _Run(model, args).nodes
    except RuntimeError as error:
        print(error)
        print("Error occurs, No graph saved")
        raise
    finally:
        model.train(training)
    made = GraphDef(node=nodes, versions=VersionDef(producer=22))
    if verbose:
        print(made)
    return made, RunMetadata(step_stats=StepStats(dev_stats=[DeviceStepStats(device="/device:CPU:0")]))


class _Run:
    """One run of a model, and the nodes of its graph."""

    def __init__(self, model, args):
        self.scopes, self.shapes, self.names, self.nodes = [], {}, {}, []
        self.root, self.modules = type(model).__name__, dict(model.named_modules())
        inputs = [t.detach().requires_grad_() if isinstance(t, Tensor) and (
            t.dtype.is_floating_point or t.dtype.is_complex) else t for t in args]
        handles = [h for name, m in self.modules.items() for h in self.watched(name, m)]
        try:
            with enable_grad():
                outputs = tensors_of(model(*inputs))
        finally:
            for h in handles:
                h.remove()
        for i, t in enumerate(tensors_of(inputs)):
            self.leaf(t, f"input/{i}", "IO Node")
        for name, p in model.named_parameters():
            path, _, last = name.rpartition(".")
            self.leaf(p, f"{self.scope(path)}/{last}", "Parameter")
        for node in self.reached(outputs):
            self.of_node(node)
        for i, t in enumerate(outputs):
            made = t.grad_fn if t.grad_fn is not None else t
            self.add(f"output/output.{i + 1}", "IO Node", [self.names[id(made)]] if id(made) in self.names else [], t.shape)

    def scope(self, path):
        """The scope of a module: classes and names from the model down."""
        names = path.split(".") if path else []
        inner = [(type(self.modules[".".join(names[:i + 1])]).__name__, name) for i, name in enumerate(names)]
        return "/".join([self.root, *[f"{cls}[{name}]" for cls, name in inner]])

    def watched(self, name, module):
        """Hooks that note which nodes are recorded inside of a module."""
        begun = []

        def before(module, args):
            begun.append(recorded.sequence())

        def after(module, args, output):
            self.scopes.append((begun.pop(), recorded.sequence(), name))
            for t in tensors_of(output):
                if t.grad_fn is not None:
                    self.shapes.setdefault(id(t.grad_fn), t.shape)
        return module.register_forward_pre_hook(before), module.register_forward_hook(after)

    def reached(self, outputs):
        """The nodes behind outputs, in the order in which they were recorded."""
        found, rest = {}, [t.grad_fn for t in outputs]
        while rest:
            node = rest.pop()
            if node is not None and id(node) not in found and not hasattr(node, "variable"):
                found[id(node)] = node
                rest += [n for n, _ in node.next_functions]
        return sorted(found.values(), key=lambda n: -n.seq)  # (numbers of nodes count down)

    def of_node(self, node):
        """Add a node, under the innermost module that it was recorded in."""
        around = [(begin - end, name) for begin, end, name in self.scopes if end < node.seq < begin]
        kind = node.name().removesuffix("0").removesuffix("Backward")
        scope = self.scope(min(around)[1] if around else "")
        inputs = []
        for n, _ in node.next_functions:
            target = getattr(n, "variable", n)
            if id(target) in self.names:
                inputs.append(self.names[id(target)])
        name = f"{scope}/{kind}_{len(self.nodes)}"
        self.names[id(node)] = name
        self.add(name, kind, inputs, self.shapes.get(id(node)))

    def leaf(self, t, name, kind):
        self.names[id(t)] = name
        self.add(name, kind, [], t.shape)

    def add(self, name, op, inputs, shape):
        attr = {"attr": AttrValue(s=b"")}
        if shape is not None:
            shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=s) for s in shape])
            attr["_output_shapes"] = AttrValue(list=AttrValue.ListValue(shape=[shape]))
        self.nodes.append(NodeDef(name=name, op=op, input=inputs, attr=attr))
