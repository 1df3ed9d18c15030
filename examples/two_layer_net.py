"""A two-layer network with its own autograd Function (MyReLU), trained by hand on random data."""

from common import bar, compiled, figure, finite, options, save, start

import numbagrad as ng


class MyReLU(ng.autograd.Function):
    """max(x, 0) with a hand-written backward."""

    @staticmethod
    def forward(ctx, input):
        ctx.save_for_backward(input)
        return input.clamp(min=0)

    @staticmethod
    def backward(ctx, grad_output):
        (input,) = ctx.saved_tensors
        grad_input = grad_output.clone()
        grad_input[input < 0] = 0
        return grad_input


def main(argv=None):
    args, device = start(options(__doc__, steps=500, lr=1e-6, batch=64, inputs=1000, hidden=100, outputs=10), argv)
    x = ng.randn(args.batch, args.inputs, device=device)
    y = ng.randn(args.batch, args.outputs, device=device)
    w1 = ng.randn(args.inputs, args.hidden, device=device, requires_grad=True)
    w2 = ng.randn(args.hidden, args.outputs, device=device, requires_grad=True)
    # As many examples again, for the validation: the targets are random, so what is learnt of them is of no use here.
    new_x = ng.randn(args.batch, args.inputs, device=device)
    new_y = ng.randn(args.batch, args.outputs, device=device)
    losses, checked, validation = [], [], []

    def validate(step):
        with ng.no_grad():
            checked.append(step)
            validation.append((new_x.mm(w1).clamp(min=0).mm(w2) - new_y).pow(2).sum().item())

    def train():
        relu = MyReLU.apply
        y_pred = relu(x.mm(w1)).mm(w2)
        loss = (y_pred - y).pow(2).sum()
        loss.backward()
        with ng.no_grad():
            w1.sub_(args.lr * w1.grad)
            w2.sub_(args.lr * w2.grad)
            w1.grad.zero_()
            w2.grad.zero_()
        return loss

    train = compiled(args, train)
    steps = bar(args.steps)
    for step in steps:
        if step % max(1, args.steps // 50) == 0:
            validate(step)
        losses.append(finite(train().item(), "--lr", args.lr))
        steps.set_postfix(loss=f"{losses[-1]:.3e}")
    validate(args.steps)
    print(f"loss: first {losses[0]:.1f}, last {losses[-1]:.3e}; on new random data {validation[-1]:.1f}")
    fig, axis = figure(6, 4)
    axis.semilogy(losses, label="training")
    axis.semilogy(checked, validation, label="validation, new random data")
    axis.set(xlabel="step", ylabel="sum of squared errors", title="Two layers, MyReLU: random targets are learnt by heart")
    axis.legend()
    save(fig, args, "two_layer_net.png")
    return losses


if __name__ == "__main__":
    main()
