"""A tour of autograd: leaves, graphs, accumulation, second derivatives, hooks, no_grad."""
import torch

x = torch.tensor(3.0, requires_grad=True)
y = x ** 2
print(y, y.grad_fn is not None, x.is_leaf, y.is_leaf)
(g,) = torch.autograd.grad(y, x, create_graph=True)
print(g, torch.autograd.grad(g, x))

a = torch.ones(2, 2, requires_grad=True)
b = a + 2
c = b * b * 3
out = c.mean()
print(b, c, out, sep="\n")
out.backward()
print(a.grad)

w = torch.tensor([1.0], requires_grad=True)
for _ in range(4):
    (w * 5).backward()
    print(w.grad)
w.grad.zero_()
print(w.grad, type(y.grad_fn).__name__, [type(f).__name__ for f, _ in c.grad_fn.next_functions])

torch.manual_seed(3)
x = torch.randn(3, requires_grad=True)
y = x * 2
while y.data.norm() < 1000:
    y = y * 2
print(y)
v = torch.tensor([0.1, 1.0, 0.0001], dtype=torch.float)
y.backward(v)
print(x.grad)

with torch.no_grad():
    print((x ** 2).requires_grad)
print(x.requires_grad, x.detach().requires_grad, x.detach().eq(x).all())

h = torch.ones(3, requires_grad=True)
z = h * 2
handle = z.register_hook(lambda grad: print("hook", grad))
z.sum().backward()
handle.remove()
z = h * 2
z.retain_grad()
z.pow(2).sum().backward()
print(z.grad, h.grad)
try:
    z.sum().backward(torch.ones(2))
except RuntimeError as e:
    print("error:", e)
try:
    (h * 2).backward()
except RuntimeError as e:
    print("error:", e)
try:
    h += 1
except RuntimeError as e:
    print("error:", e)
