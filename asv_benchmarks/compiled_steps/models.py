"""The steps in PyTorch's API, for numbagrad and PyTorch alike: ``build(lib, name)`` gives (step, its arguments)."""

from __future__ import annotations

from .specs import GPT, SPECS

STEPS = {}


def step_of(*names):
    def register(fn):
        for n in names:
            STEPS[n] = fn
        return fn
    return register


class Step:
    """A model, its optimizer, and the loss of a batch.

    ``inputs``: what ``backward`` goes to where the batch requires grad as well; ``traced``: the loss in a form that
    ``torch.compile`` takes, where it refuses the usual one."""

    def __init__(self, model, optimizer, loss, inputs=None, traced=None):
        self.model, self.optimizer, self.loss, self.inputs, self.traced = model, optimizer, loss, inputs, traced or loss

    def function(self, loss=None, update=None):
        """The training step; ``loss`` and ``update`` replace parts of it by compiled ones."""
        optimizer, loss_of, inputs = self.optimizer, loss or self.loss, self.inputs
        update = update or optimizer.step
        if inputs is None:
            def step(*batch):
                optimizer.zero_grad()
                value = loss_of(*batch)
                value.backward()
                update()
                return value
        else:
            def step(*batch):
                optimizer.zero_grad()
                value = loss_of(*batch)
                value.backward(inputs=inputs)
                update()
                return value
        return step


def build(lib, name):
    """(``Step``, arguments as tensors of ``lib``) with the parameters and data of ``specs``."""
    spec = SPECS[name]
    lib.manual_seed(0)
    step = STEPS[name](lib, spec)
    values = spec.parameters()
    with lib.no_grad():
        for n, p in step.model.named_parameters():
            p.copy_(lib.tensor(values.pop(n)))
    if values:
        raise RuntimeError(f"the model of {name} has no {', '.join(values)}")
    batch = [lib.tensor(a) for a in spec.data()]
    if step.inputs is not None:
        batch[0].requires_grad_()
    return step, batch


def sequential(lib, sizes, activation):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [lib.nn.Linear(a, b), activation()]
    return lib.nn.Sequential(*layers[:-1])


@step_of("mlp_32x64x64x10", "mlp_128x784x256x10", "mlp_256x1024x1024x1024x10")
def mlp(lib, spec):
    weights = [s for s in spec.shapes.values() if len(s) == 2]
    model = sequential(lib, [weights[0][1], *[w[0] for w in weights]], lib.nn.ReLU)
    cross_entropy = lib.nn.functional.cross_entropy

    def loss(x, y):
        return cross_entropy(model(x), y)
    return Step(model, lib.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), loss)


@step_of("logistic_200x2")
def logistic(lib, spec):
    model = lib.nn.Sequential(lib.nn.Linear(2, 1), lib.nn.Sigmoid())
    bce = lib.nn.functional.binary_cross_entropy

    def loss(x, y):
        return bce(model(x).squeeze(), y)
    return Step(model, lib.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), loss)


@step_of("pinn_256x1x32x32x1")
def pinn(lib, spec):
    model = sequential(lib, (1, 32, 32, 1), lib.nn.Tanh)
    grad = lib.autograd.grad

    def loss(x, f):
        u = model(x)
        du, = grad(u.sum(), x, create_graph=True)
        d2u, = grad(du.sum(), x, create_graph=True)
        return ((d2u + u - f) ** 2).mean()

    def traced(x, f):
        # torch.compile does not differentiate twice through autograd.grad.
        first, vmap = lib.func.grad, lib.func.vmap
        d2u = vmap(first(lambda p: first(lambda q: model(q[None])[0, 0])(p)[0]))(x)
        return ((d2u + model(x) - f) ** 2).mean()
    return Step(model, lib.optim.Adam(model.parameters(), lr=1e-3), loss, list(model.parameters()), traced)


@step_of("gpt")
def gpt(lib, spec):
    nn, F = lib.nn, lib.nn.functional
    d, heads, length, vocabulary = GPT["width"], GPT["heads"], GPT["length"], GPT["vocabulary"]
    future = lib.ones(length, length).triu(1).bool()

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first_norm, self.second_norm = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.project = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.widen, self.narrow = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

        def forward(self, x):
            b, t, _ = x.shape
            q, k, v = self.qkv(self.first_norm(x)).chunk(3, -1)
            q, k, v = [z.view(b, t, heads, d // heads).transpose(1, 2) for z in (q, k, v)]
            if hasattr(F, "scaled_dot_product_attention"):
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            else:
                scores = (q @ k.transpose(2, 3)) * (d // heads) ** -0.5
                y = scores.masked_fill(future, float("-inf")).softmax(-1) @ v
            x = x + self.project(y.transpose(1, 2).reshape(b, t, d))
            return x + self.narrow(F.gelu(self.widen(self.second_norm(x))))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.embed_position = nn.Embedding(vocabulary, d), nn.Embedding(length, d)
            self.blocks = nn.Sequential(*[Block() for _ in range(GPT["layers"])])
            self.last_norm, self.head = nn.LayerNorm(d), nn.Linear(d, vocabulary, bias=False)

        def forward(self, tokens):
            return self.head(self.last_norm(self.blocks(self.embed(tokens) + self.embed_position.weight)))
    model = Model()

    def loss(tokens, following):
        return F.cross_entropy(model(tokens).view(-1, vocabulary), following.view(-1))
    return Step(model, lib.optim.AdamW(model.parameters(), lr=3e-4), loss)


@step_of("conv_64x1x28x28")
def conv(lib, spec):
    nn, F = lib.nn, lib.nn.functional
    c1, c2 = spec.shapes["conv1.bias"][0], spec.shapes["conv2.bias"][0]

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.first_norm = nn.Conv2d(1, c1, 3, padding=1), nn.BatchNorm2d(c1)
            self.conv2, self.second_norm = nn.Conv2d(c1, c2, 3, padding=1), nn.BatchNorm2d(c2)
            self.head = nn.Linear(c2 * 49, 10)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.first_norm(self.conv1(x))), 2)
            x = F.max_pool2d(F.relu(self.second_norm(self.conv2(x))), 2)
            return self.head(x.flatten(1))
    model = Model()

    def loss(x, y):
        return F.cross_entropy(model(x), y)
    return Step(model, lib.optim.Adam(model.parameters(), lr=1e-3), loss)


@step_of("lstm_64x128_32x32")
def lstm(lib, spec):
    nn, F = lib.nn, lib.nn.functional

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(64, 128), nn.Linear(128, 10)

        def forward(self, x):
            return self.head(self.lstm(x)[0][-1])
    model = Model()

    def loss(x, y):
        return F.cross_entropy(model(x), y)
    return Step(model, lib.optim.Adam(model.parameters(), lr=1e-3), loss)
