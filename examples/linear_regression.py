"""Linear regression by hand: y = x.mm(w) + b, squared error, gradient descent written out."""

from common import bar, options, start

import numbagrad as ng


def main(argv=None):
    args, device = start(options(__doc__, steps=500, lr=0.01, points=100), argv)
    x = ng.rand(args.points, 1, device=device) * 20
    y = x * 2 + 5 + ng.randn(args.points, 1, device=device)
    w = ng.rand(1, 1, device=device, requires_grad=True)
    b = ng.zeros(1, 1, device=device, requires_grad=True)
    scale = x.abs().max().item()  # keeps the step stable for inputs up to 20
    losses = []
    steps = bar(args.steps)
    for _ in steps:
        predicted = (x / scale).mm(w) + b.expand_as(y)
        loss = 0.5 * (predicted - y) ** 2
        loss = loss.mean()
        loss.backward()
        with ng.no_grad():
            w -= 10 * args.lr * w.grad
            b -= 10 * args.lr * b.grad
            w.grad.zero_()
            b.grad.zero_()
        losses.append(loss.item())
        steps.set_postfix(loss=f"{losses[-1]:.4f}")
    slope, intercept = w.item() / scale, b.item()
    print(f"loss {losses[-1]:.4f}   slope {slope:.4f} (true 2)   intercept {intercept:.4f} (true 5)")
    picture(args, x, y, slope, intercept, losses)
    return losses[-1], slope, intercept


def picture(args, x, y, slope, intercept, losses):
    import matplotlib.pyplot as plt
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    left.scatter(x.cpu().numpy(), y.cpu().numpy(), s=8, label="data")
    left.plot([0, 20], [intercept, intercept + 20 * slope], "r", label=f"y = {slope:.2f} x + {intercept:.2f}")
    left.legend()
    right.semilogy(losses)
    right.set(xlabel="step", ylabel="loss")
    path = f"{args.out}/linear_regression.png"
    fig.savefig(path, dpi=100)
    print("picture:", path)


if __name__ == "__main__":
    main()
