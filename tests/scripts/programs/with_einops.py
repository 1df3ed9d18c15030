"""Rearrangements, reductions and layers of einops, with their gradients."""

import torch
from einops import asnumpy, einsum, pack, parse_shape, rearrange, reduce, repeat, unpack
from einops.layers.torch import EinMix, Rearrange, Reduce

torch.manual_seed(0)
images = torch.randn(2, 3, 8, 12, requires_grad=True)


def show(name, t):
    print(name, tuple(t.shape), t.dtype, f"{t.double().sum().item():.4f} {t.flatten()[0].item():.4f} {t.is_contiguous()}")


patches = rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4)
show("patches", patches)
show("back", rearrange(patches, "b (h w) (p q c) -> b c (h p) (w q)", h=2, p=4, q=4))
for way in ("mean", "max", "min", "sum", "prod"):
    show(way, reduce(images, "b c (h 2) (w 3) -> b c h w", way))
show("callable", reduce(images, "b c h w -> b c", lambda x, axes: torch.logsumexp(x, tuple(axes))))
show("repeat", repeat(images[:, 0], "b h w -> b (h 2) (w k) c", k=2, c=3))
show("list", rearrange(list(images), "b c h w -> (b h) w c"))
show("ellipsis", reduce(images, "b ... -> ...", "mean"))
packed, shapes = pack([images.mean((2, 3)), images[:, :, 0, 0:2], images[:, :, 0]], "b c *")
show("packed", packed)
print(shapes, [tuple(t.shape) for t in unpack(packed, shapes, "b c *")], parse_shape(images, "b _ h w"))
show("einsum", einsum(patches, torch.ones(5, 48), "b t d, k d -> b t k"))
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3, padding=1), Reduce("b c (h 2) (w 2) -> b c h w", "max"), Rearrange("b c h w -> b (h w) c"),
    EinMix("b t c -> b k d", "t k c d", "k d", t=24, k=3, c=4, d=5), torch.nn.ReLU(), Rearrange("b k d -> b (k d)"),
    torch.nn.Linear(15, 2))
print(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for _ in range(4):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(images), torch.tensor([0, 1])) + patches.pow(2).mean()
    loss.backward(retain_graph=True)
    optimizer.step()
    print(f"loss {loss.item():.5f} {images.grad.double().pow(2).sum().item():.5f}")
print(asnumpy(images.detach()).shape, type(asnumpy(images.detach())).__name__)
twin = EinMix("a b -> a c", "b c", b=3, c=2)
twin.load_state_dict({"weight": torch.arange(6.0).reshape(3, 2)})
print({k: tuple(v.shape) for k, v in model.state_dict().items()}, twin(torch.ones(1, 3)))
first, = torch.autograd.grad(reduce(images.tanh(), "b c h w -> b", "mean").prod(), images, create_graph=True)
second, = torch.autograd.grad(first.pow(2).sum(), images)
show("second", second)
for bad in (lambda: rearrange(images, "b c h -> h c b"), lambda: reduce(images, "b c h w -> b", "median"),
            lambda: rearrange(images, "b c (h p) w -> b h w", p=5), lambda: repeat(images, "b c h w -> b c h w k")):
    try:
        bad()
    except Exception as e:
        print(type(e).__name__, str(e).splitlines()[0])
