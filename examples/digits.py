"""Handwritten digits: real 8x8 scans, a small conv net and an MLP, learning curves and the hardest scans in one picture.

The checkpoint is written after every epoch, atomically; ``--resume`` goes on from it.
"""

import os
import time

import numpy as np
from common import bar, compiled, figure, finite, options, save, start

import numbagrad as ng
from numbagrad import nn
from numbagrad.utils.data import DataLoader, TensorDataset


def conv_net():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.25), nn.Linear(32 * 2 * 2, 10),
    )


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


LIMIT = 100 * np.log(10)  # a loss that only diverged training comes to: guessing gives log(10)
MODELS = {"conv": conv_net, "mlp": mlp}


def load(device):
    """Train and test tensors: 1797 scans, a quarter of them for the test, split the same way every time."""
    from sklearn.datasets import load_digits
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x = ng.tensor((digits.images[order] / 16).astype("float32")[:, None], device=device)
    y = ng.tensor(digits.target[order].astype("int64"), device=device)
    cut = len(order) * 3 // 4
    return x[:cut], y[:cut], x[cut:], y[cut:]


def evaluate(model, x, y):
    """(accuracy, probability of each digit) on the test scans."""
    model.eval()
    with ng.no_grad():
        probabilities = model(x).softmax(1)
    model.train()
    return (probabilities.argmax(1) == y).float().mean().item(), probabilities


def random_state(device):
    """What shuffling and dropout draw from."""
    return {"cpu": ng.get_rng_state(), "cuda": ng.cuda.get_rng_state() if device.type == "cuda" else None}


def set_random_state(state, device):
    ng.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and state["cuda"] is not None:
        ng.cuda.set_rng_state(state["cuda"].cpu())


def train(name, args, device):
    x, y, test_x, test_y = load(device)
    ng.manual_seed(args.seed)
    model = MODELS[name]().to(device)
    optimizer = ng.optim.Adam(model.parameters(), lr=args.lr)
    loss_fn = nn.CrossEntropyLoss()
    loader = DataLoader(TensorDataset(x, y), batch_size=args.batch, shuffle=True)
    path = os.path.join(args.out, f"digits_{name}.pt")
    settings = {"seed": args.seed, "batch": args.batch, "lr": args.lr}
    history, first = [], 0
    if args.resume and os.path.exists(path):
        state = ng.load(path, map_location=device)
        if state["settings"] != settings:
            raise SystemExit(f"{path} was made with {state['settings']}, not {settings}")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        set_random_state(state["random"], device)
        history, first = state["history"], state["epoch"]
        print(f"{name}: resumed after epoch {first} from {path}")

    def step(x, y):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step = compiled(args, step)
    begin = time.perf_counter()
    epochs = bar(range(first, args.epochs), desc=name)
    for epoch in epochs:
        total = 0.0
        for batch_x, batch_y in loader:
            total += finite(step(batch_x, batch_y).item(), "--lr", args.lr, LIMIT) * len(batch_y)
        accuracy, _ = evaluate(model, test_x, test_y)
        history.append((total / len(y), accuracy))
        # One file with everything that the next epoch depends on; save replaces the old one in a single step.
        ng.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1,
                 "history": history, "random": random_state(device), "settings": settings}, path)
        epochs.set_postfix(loss=f"{history[-1][0]:.4f}", test=f"{accuracy:.2%}")
    accuracy, probabilities = evaluate(model, test_x, test_y)
    print(f"{name}: test accuracy {accuracy:.2%} after {args.epochs} epochs in {time.perf_counter() - begin:.1f} s, "
          f"{sum(p.numel() for p in model.parameters())} parameters")
    return history, accuracy, (test_x.cpu(), test_y.cpu(), probabilities.cpu())


def picture(args, results):
    fig, _ = figure(11, 7)
    fig.clear()
    curves, hardest = fig.subfigures(2, 1, height_ratios=(2, 1))
    loss_axis, accuracy_axis = curves.subplots(1, 2)
    for name, (history, accuracy, _) in results.items():
        losses, accuracies = zip(*history)
        epochs = range(1, len(history) + 1)
        loss_axis.semilogy(epochs, losses, ".-", label=name)
        accuracy_axis.plot(epochs, [100 * a for a in accuracies], ".-", label=f"{name}: {accuracy:.2%}")
    loss_axis.set(xlabel="epoch", ylabel="training loss")
    accuracy_axis.set(xlabel="epoch", ylabel="test accuracy, %")
    for axis in (loss_axis, accuracy_axis):
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend()
    name = "conv" if "conv" in results else next(iter(results))
    x, y, probabilities = (t.numpy() for t in results[name][2])
    predicted, truth = probabilities.argmax(1), probabilities[np.arange(len(y)), y]
    # The scans whose digit got the least probability: mistakes, and what came near to one.
    for i, axis in zip(np.argsort(truth), hardest.subplots(1, 8).flat):
        axis.axis("off")
        axis.imshow(x[i, 0], cmap="gray_r")
        axis.set_title(f"{y[i]} read as {predicted[i]}\nP({y[i]}) = {truth[i]:.0%}", fontsize=9,
                       color="black" if predicted[i] == y[i] else "red")
    curves.suptitle("Digits: 8x8 scans")
    hardest.suptitle(f"Hardest scans of the {name} net ({(predicted != y).sum()} of {len(y)} misclassified, red)")
    save(fig, args, "digits.png")


def main(argv=None):
    parser = options(__doc__.split("\n")[0], epochs=20, batch=32, lr=2e-3)
    parser.add_argument("--model", choices=[*MODELS, "both"], default="both", help="the network to train")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    args, device = start(parser, argv, needs=("sklearn",))
    names = list(MODELS) if args.model == "both" else [args.model]
    results = {name: train(name, args, device) for name in names}
    picture(args, results)
    return {name: accuracy for name, (_, accuracy, _) in results.items()}


if __name__ == "__main__":
    main()
