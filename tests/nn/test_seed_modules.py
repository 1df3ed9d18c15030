"""The contract: custom Functions, modules, optimizers, printing."""

import types
from collections import OrderedDict

from parity import agrees
from seed_helpers import make_relu, printed

# --- custom Functions -------------------------------------------------------------------------------------------------

def make_exp(T):
    class Exp(T.autograd.Function):
        @staticmethod
        def forward(ctx, i):
            result = i.exp()
            ctx.save_for_backward(result)
            return result

        @staticmethod
        def backward(ctx, grad_output):
            result, = ctx.saved_tensors
            return grad_output * result
    return Exp


def make_linear(T):
    class LinearFunction(T.autograd.Function):
        @staticmethod
        def forward(ctx, input, weight, bias=None):
            ctx.save_for_backward(input, weight, bias)
            output = input.mm(weight.t())
            if bias is not None:
                output += bias.unsqueeze(0).expand_as(output)
            return output

        @staticmethod
        def backward(ctx, grad_output):
            input, weight, bias = ctx.saved_tensors
            grad_input = grad_weight = grad_bias = None
            if ctx.needs_input_grad[0]:
                grad_input = grad_output.mm(weight)
            if ctx.needs_input_grad[1]:
                grad_weight = grad_output.t().mm(input)
            if bias is not None and ctx.needs_input_grad[2]:
                grad_bias = grad_output.sum(0)
            return grad_input, grad_weight, grad_bias
    return LinearFunction


def test_custom_exp():
    def code(T):
        x = T.tensor([1.], requires_grad=True)
        y = make_exp(T).apply(x)
        y.backward()
        print(y)
        print(x.grad)
        print(y.grad_fn)
    agrees(printed(code), "tensor([2.7183], grad_fn=<ExpBackward>)\ntensor([2.7183])\n"
                          "<torch.autograd.function.ExpBackward object at 0x>")


def test_custom_functions_pass_gradcheck():
    def code(T):
        T.manual_seed(0)
        linear = make_linear(T).apply
        input = (T.randn(4, 5, dtype=T.double, requires_grad=True), T.randn(3, 5, dtype=T.double, requires_grad=True),
                 T.randn(3, dtype=T.double, requires_grad=True))
        print(T.autograd.gradcheck(linear, input, eps=1e-6, atol=1e-4))
        print(T.autograd.gradcheck(linear, input[:2]))
        print(T.autograd.gradcheck(make_exp(T).apply, input[:1]), T.autograd.gradcheck(make_relu(T).apply, input[:1]))
    agrees(printed(code), "True\nTrue\nTrue True")


def test_custom_relu_name():
    def code(T):
        print(make_relu(T).apply(T.tensor([-1., 2.], requires_grad=True)))
    agrees(printed(code), "tensor([0., 2.], grad_fn=<MyReLUBackward>)")


# --- nn and optim -----------------------------------------------------------------------------------------------------

def test_batch_norm_parameters_and_buffers():
    def code(T):
        bn = T.nn.BatchNorm1d(3, track_running_stats=True)
        print(list(bn.named_parameters()))
        print(list(bn.named_buffers()))
        print(bn.state_dict())
        print(bn.weight)
        print(type(bn.state_dict()).__name__, list(bn.state_dict()))
    state = [("weight", "tensor([1., 1., 1.])"), ("bias", "tensor([0., 0., 0.])"), ("running_mean", "tensor([0., 0., "
                                                                                                    "0.])"),
             ("running_var", "tensor([1., 1., 1.])"), ("num_batches_tracked", "tensor(0)")]
    if "{" in repr(OrderedDict(a=1)):  # as Python 3.12 writes it
        shown = "OrderedDict({" + ", ".join(f"'{k}': {v}" for k, v in state) + "})"
    else:
        shown = "OrderedDict([" + ", ".join(f"('{k}', {v})" for k, v in state) + "])"
    agrees(printed(code),
           "[('weight', Parameter containing:\ntensor([1., 1., 1.], requires_grad=True)), ('bias', Parameter "
           "containing:\ntensor([0., 0., 0.], requires_grad=True))]\n"
           "[('running_mean', tensor([0., 0., 0.])), ('running_var', tensor([1., 1., 1.])), ('num_batches_tracked', "
           "tensor(0))]\n"
           + shown + "\nParameter containing:\ntensor([1., 1., 1.], requires_grad=True)\n"
           "OrderedDict ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']")


def test_modules():
    def code(T):
        class LR(T.nn.Module):
            def __init__(self):
                super().__init__()
                self.features = T.nn.Linear(2, 1)
                self.sigmoid = T.nn.Sigmoid()

            def forward(self, x):
                return self.sigmoid(self.features(x))
        T.manual_seed(0)
        net = LR()
        print(net)
        print(T.nn.Sequential(T.nn.Linear(2, 1), T.nn.ReLU(), T.nn.Sigmoid()))
        print(net(T.ones(1, 2)))
        print(isinstance(net.parameters(), types.GeneratorType), [n for n, _ in net.named_parameters()])
    agrees(printed(code),
           "LR(\n  (features): Linear(in_features=2, out_features=1, bias=True)\n  (sigmoid): "
           "Sigmoid()\n)\nSequential(\n  (0): Linear(in_features=2, out_features=1, bias=True)\n  (1): ReLU()\n  (2): "
           "Sigmoid()\n)\ntensor([[0.4482]], grad_fn=<SigmoidBackward0>)\nTrue ['features.weight', 'features.bias']")


def test_losses_and_sgd():
    def code(T):
        T.manual_seed(0)
        model = T.nn.Linear(3, 1)
        optimizer = T.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
        x, t = T.randn(4, 3), T.tensor([0., 1., 1., 0.])
        for _ in range(3):
            out = model(x)
            loss = T.nn.BCELoss()(T.sigmoid(out).squeeze(), t) + T.nn.MSELoss()(out.squeeze(), t)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            print(loss)
        print([p.grad for p in model.parameters()])
        print(model.weight, model.bias)
    agrees(printed(code))


# --- printing ---------------------------------------------------------------------------------------------------------

def test_printing():
    def code(T):
        print(T.tensor(6.), T.tensor([5.]), T.tensor([1.23456789, -100.5]), T.tensor([1e-8, 1.0]), T.tensor([1, 2]),
              T.tensor([[1., 2.], [3., 4.]]), T.tensor([True]))
        print(T.tensor(25., requires_grad=True) + 0)
    agrees(printed(code))
