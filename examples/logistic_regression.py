"""Logistic regression on two Gaussian clouds; draws the decision line as it moves and stops at 99 % accuracy."""

import numpy as np
from common import bar, compiled, figure, finite, options, save, start

import numbagrad as ng
from numbagrad import nn


def main(argv=None):
    args, device = start(options(__doc__, steps=1000, lr=0.01, samples=100, mean=1.7, bias=1.0), argv)
    ones = ng.ones(args.samples, 2)
    x0 = ng.normal(args.mean * ones, 1) + args.bias
    y0 = ng.zeros(args.samples)
    x1 = ng.normal(-args.mean * ones, 1) + args.bias
    y1 = ng.ones(args.samples)
    train_x = ng.cat([x0, x1], 0).to(device)
    train_y = ng.cat([y0, y1], 0).to(device)

    net = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid()).to(device)
    loss_fn = nn.BCELoss()
    optimizer = ng.optim.SGD(net.parameters(), lr=args.lr, momentum=0.9)
    lines = []

    def train(x, y):
        y_pred = net(x)
        loss = loss_fn(y_pred.squeeze(), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return y_pred, loss

    train = compiled(args, train)
    steps = bar(args.steps)
    for step in steps:
        y_pred, loss = train(train_x, train_y)
        finite(loss.item(), "--lr", args.lr)
        if step % 20 == 0:
            mask = y_pred.ge(0.5).float().squeeze()
            accuracy = (mask == train_y).sum().item() / train_y.size(0)
            w0, w1 = (float(w.item()) for w in net[0].weight[0])
            lines.append((step, w0, w1, float(net[0].bias[0].item()), loss.item(), accuracy))
            steps.set_postfix(loss=f"{loss.item():.4f}", accuracy=f"{accuracy:.2%}")
            if accuracy > 0.99:
                break
    steps.close()
    step, w0, w1, b, loss, accuracy = lines[-1]
    finite(loss, "--lr", args.lr, max(lines[0][4], 10 * np.log(2)))  # guessing gives log(2)
    print(f"stopped at step {step}: loss {loss:.4f}, accuracy {accuracy:.2%}, line {w0:.2f} x + {w1:.2f} y + {b:.2f} = 0")
    picture(args, x0, x1, lines)
    return lines[-1]


def picture(args, x0, x1, lines):
    fig, axis = figure(7, 6)
    axis.scatter(x0.numpy()[:, 0], x0.numpy()[:, 1], c="r", s=12, label="class 0")
    axis.scatter(x1.numpy()[:, 0], x1.numpy()[:, 1], c="b", s=12, label="class 1")
    plot_x = np.arange(-6, 8, 0.1)
    for i, (step, w0, w1, b, _, accuracy) in enumerate(lines):
        last = i == len(lines) - 1
        if not last and i % max(1, len(lines) // 10):
            continue
        axis.plot(plot_x, (-w0 * plot_x - b) / w1, color="k", alpha=1.0 if last else 0.15 + 0.4 * i / len(lines),
                  lw=2 if last else 1, label=f"step {step}: {accuracy:.1%}" if last else None)
    axis.set(xlim=(-5, 7), ylim=(-7, 7), xlabel="x", ylabel="y", title="The decision line as it moves")
    axis.legend()
    save(fig, args, "logistic_regression.png")


if __name__ == "__main__":
    main()
