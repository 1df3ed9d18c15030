"""Linear regression by hand: y = x.mm(w) + b, squared error, gradient descent written out."""

from common import bar, compiled, figure, finite, options, save, start

import numbagrad as ng


def main(argv=None):
    args, device = start(options(__doc__, steps=500, lr=0.5, points=300), argv)
    x = ng.rand(args.points, 1, device=device)
    y = x * 40 + 5 + ng.randn(args.points, 1, device=device)  # 2 per unit where x is drawn from 0 to 20
    w = ng.rand(1, 1, device=device, requires_grad=True)
    b = ng.zeros(1, 1, device=device, requires_grad=True)
    losses, lines = [], []

    def train():
        y_pred = x.mm(w) + b.expand_as(y)
        loss = 0.5 * (y_pred - y) ** 2
        loss = loss.mean()
        loss.backward()
        with ng.no_grad():
            w.sub_(args.lr * w.grad)
            b.sub_(args.lr * b.grad)
            w.grad.zero_()
            b.grad.zero_()
        return loss

    train = compiled(args, train)
    steps = bar(args.steps)
    for _ in steps:
        lines.append((w.item() / 20, b.item()))
        loss = train()
        losses.append(finite(loss.item(), "--lr", args.lr))
        steps.set_postfix(loss=f"{losses[-1]:.4f}")
    lines.append((w.item() / 20, b.item()))
    slope, intercept = lines[-1]
    print(f"loss {losses[-1]:.4f}   slope {slope:.4f} (true 2)   intercept {intercept:.4f} (true 5)")
    picture(args, 20 * x, y, lines, losses)
    return losses[-1], slope, intercept


def picture(args, x, y, lines, losses):
    fig, (left, right) = figure(10, 4, 1, 2)
    left.scatter(x.cpu().numpy(), y.cpu().numpy(), s=8, label="data")
    for i, step in enumerate((0, 1, 2, 5, 20, 100)):
        if step < len(lines) - 1:
            slope, intercept = lines[step]
            left.plot([0, 20], [intercept, intercept + 20 * slope], "k", lw=1, alpha=0.2 + 0.1 * i)
    slope, intercept = lines[-1]
    left.plot([0, 20], [intercept, intercept + 20 * slope], "r", label=f"y = {slope:.2f} x + {intercept:.2f}")
    left.set(xlabel="x", ylabel="y", title="data, the line as it moves (grey), the last line")
    left.legend()
    right.semilogy(losses)
    right.set(xlabel="step", ylabel="loss", title="half the mean squared error")
    save(fig, args, "linear_regression.png")


if __name__ == "__main__":
    main()
