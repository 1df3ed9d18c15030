"""A frozen backbone with a new head: train on the digits 0-4, then only a new last layer on 5-9."""

import numpy as np
from common import bar, compiled, figure, finite, options, save, start

import numbagrad as ng
from numbagrad import nn
from numbagrad.utils.data import DataLoader, TensorDataset

LIMIT = 100 * np.log(5)  # a loss that only diverged training comes to: guessing gives log(5)


class Net(nn.Module):
    """A backbone that makes features and a last layer ``fc`` that names digits."""

    def __init__(self, classes=5):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
        self.fc = nn.Linear(256, classes)

    def forward(self, x):
        return self.fc(self.backbone(x))


def data(low, high, device):
    """(train loader, test images, test labels) of the scans of digits low to high - 1."""
    from sklearn.datasets import load_digits
    digits = load_digits()
    keep = (digits.target >= low) & (digits.target < high)
    x = ng.tensor((digits.data[keep] / 16).astype("float32"), device=device)
    y = ng.tensor(digits.target[keep].astype("int64") - low, device=device)
    order = np.random.default_rng(0).permutation(len(y))
    cut = len(y) * 3 // 4
    train, test = ng.tensor(order[:cut]), ng.tensor(order[cut:])
    return DataLoader(TensorDataset(x[train], y[train]), batch_size=32, shuffle=True), x[test], y[test]


def train(args, model, loader, test, parameters, option, epochs, label):
    """(loss of every step, test accuracy before the first epoch and after each)."""
    lr = getattr(args, option)
    optimizer = ng.optim.SGD(parameters, lr=lr, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()

    def step(x, y):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step = compiled(args, step)
    losses, accuracies = [], [accuracy(model, *test)]
    for _ in bar(epochs, desc=label):
        for x, y in loader:
            losses.append(finite(step(x, y).item(), "--" + option.replace("_", "-"), lr, LIMIT))
        accuracies.append(accuracy(model, *test))
    return losses, accuracies


def accuracy(model, x, y):
    with ng.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def main(argv=None):
    args, device = start(options(__doc__, epochs=10, head_epochs=60, lr=0.05, head_lr=0.1), argv, needs=("sklearn",))
    loader, x, y = data(0, 5, device)
    model = Net().to(device)
    first = train(args, model, loader, (x, y), model.parameters(), "lr", args.epochs, "whole network, digits 0-4")

    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(256, 5).to(device)
    frozen = model.backbone[0].weight.detach().clone()
    loader, x, y = data(5, 10, device)
    second = train(args, model, loader, (x, y), model.fc.parameters(), "head_lr", args.head_epochs, "new head, digits 5-9")
    before, untrained, after = first[1][-1], second[1][0], second[1][-1]
    if not bool((model.backbone[0].weight == frozen).all()):
        raise AssertionError("the frozen backbone changed")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    print(f"digits 0-4: {before:.2%}; digits 5-9: {untrained:.2%} with the new head untrained, {after:.2%} after training "
          f"{trained} of {total} parameters")
    picture(args, {"whole network, digits 0-4": first, "new head, digits 5-9": second})
    return before, untrained, after


def picture(args, phases):
    """Loss of every step and test accuracy of every epoch, one phase after the other."""
    fig, (left, right) = figure(10, 4, 1, 2)
    step = epoch = 0
    for label, (losses, accuracies) in phases.items():
        left.semilogy(range(step, step + len(losses)), losses, lw=0.8, label=label)
        right.plot(range(epoch, epoch + len(accuracies)), [100 * a for a in accuracies], ".-",
                   label=f"{label}: {accuracies[-1]:.1%}")
        step, epoch = step + len(losses), epoch + len(accuracies) - 1
    left.set(xlabel="step", ylabel="training loss")
    right.set(xlabel="epoch", ylabel="test accuracy, %")
    for axis in (left, right):
        axis.legend()
    fig.suptitle("A frozen backbone with a new head")
    save(fig, args, "finetune_head.png")


if __name__ == "__main__":
    main()
