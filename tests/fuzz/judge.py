"""What an outcome means: which exceptions come from inside, and where values differ from PyTorch's."""

import linecache
import re
import traceback
from typing import NamedTuple

import numpy as np
from registry.oracle import torch_function

from .play import numbers

FATAL = ("crash", "hang", "fence", "changed")
INSIDE = ("KeyError", "OverflowError", "ZeroDivisionError", "AttributeError", "UnboundLocalError", "StopIteration", "NameError",
          "AssertionError", "SystemError", "FloatingPointError", "RecursionError", "UFuncTypeError", "_UFuncInputCastingError",
          "TypingError", "LoweringError", "UnsupportedError", "ArrayMemoryError", "ComplexWarning")
WORDS = ("Placeholder", "fingerprint", "nopython", "NoneType' object", "numpy", "ndarray", "truth value", "C long", "C int")
TOLERANCE = {"float16": 1e-2, "bfloat16": 6e-2, "float32": 2e-4, "complex64": 2e-4, "float64": 2e-7, "complex128": 2e-7,
             "float": 2e-4, "complex": 2e-4}
HALF = {name: TOLERANCE[name] for name in ("float16", "bfloat16")}
TINY = r"((-?\d(\.\d+)?e-(0[6-9]|1\d)|-?0)(, )?)+"  # numbers below 1e-5


class Known(NamedTuple):
    """A difference that is meant: its class, what the text says, the ops (all if none are named), and the reason."""

    kind: str
    text: str
    ops: tuple
    reason: str
    call: str = ""  # what the call as text must show

    def covers(self, op, kind, text, call):
        return (kind == self.kind and (not self.ops or op in self.ops) and re.search(self.text, text) is not None
                and re.search(self.call, call) is not None)


NUMBERS = r"result \d+: (not finite: )?\w+\["  # other numbers, of the same dtype and shape
EXTREME = r"nan|inf|huge|e\+[23]\d"  # among the inputs
EMPTY = r"T\(\[(\d+, )*0\b"  # a tensor without elements
CELLS = ("rnn_tanh_cell", "rnn_relu_cell", "gru_cell", "lstm_cell")
LAYERS = ("lstm", "gru", "rnn_tanh", "rnn_relu")


KNOWN = (
    Known("value", NUMBERS, ("empty", "empty_like", "new_empty", "empty_strided", "resize", "resize_as"),
          "the values are whatever was in memory"),
    Known("value", NUMBERS, ("svd", "eig", "eigh", "qr", "lstsq"), "factors are unique up to signs and order only"),
    Known("value", NUMBERS, ("dropout", "alpha_dropout", "feature_dropout", "rrelu", "dropout1d", "dropout2d", "dropout3d"),
          "the drawn numbers depend on how a layout is walked"),
    Known("value", NUMBERS, ("polar",), "PyTorch's gradient of a negative modulus has the wrong sign"),
    Known("value", "inf.* for .*nan", ("polygamma", "polygamma_method"),
          "n! overflows where PyTorch multiplies it with a zeta function of 0"),
    Known("accepted", "unexpected keyword argument 'out'|got \\(.*out=Tensor.*\\)|missing 1 required positional arguments: "
          "\"dim\"", (), "every elementwise op and reduction takes out="),
    Known("refused", "unexpected keyword argument 'out'", (), "not every other op takes out="),
    Known("refused", "Low precision dtypes not supported", ("matrix_exp",), "no decomposition works in half precision"),
    Known("accepted", "Found dtype|dtype for input and out to match|does not support non-boolean outputs|Expected out tensor",
          (), "what can be cast to the dtype of out= is, in every op"),
    Known("accepted", r"argument '(other|input|exponent|end|tensor1|tensor2|x2)' .* must be Tensor, not "
          r"(int|float|bool|complex|numpy\.(u?int|float|complex)\d+)", (),
          "numbers stand for tensors in every operand of an elementwise op"),
    Known("accepted", r"got \((int|float|bool|numpy\.\w+), Tensor\)", ("eq", "ne", "lt", "le", "gt", "ge"),
          "numbers stand for tensors in every operand of an elementwise op"),
    Known("value", "result 1", ("as_strided_scatter",),
          "PyTorch passes the gradient of what was overwritten on to the input, and keeps that of what stayed"),
    Known("value", "not finite", ("copysign",), "PyTorch's second derivative divides by an input of 0; it is 0"),
    Known("value", "inf.* for ", ("polygamma", "polygamma_method"), "at its poles PyTorch divides by the sine of a rounded pi"),
    Known("value", r"\[0\] for float(32|64)\[nan\]", ("mish",),
          "the second derivative is 0 far from 0, where PyTorch's intermediates overflow"),
    Known("value", "not finite", ("addbmm", "inv", "inverse", "solve"),
          "the order of sums and eliminations says which of inf and NaN",
          EXTREME),
    Known("value", r"result \d+: float\d+ for NoneType", ("pairwise_distance", "triplet_margin_loss", "normalize"),
          "gradients of p = 0 are zeros, not absent"),
    Known("accepted", "dtype of out: .* should be same as input", (), "what can be cast to the dtype of out= is, in every op"),
    Known("accepted", "can't allocate memory", (), "how much memory there is at the time"),
    Known("accepted", "has been modified by an inplace operation", ("vander", "cond"),
          "PyTorch's vander and cond have no gradient for their own writes"),
    Known("accepted", "returned an invalid gradient", ("pixel_shuffle", "pixel_unshuffle"),
          "PyTorch's gradient of empty images fails"),
    Known("accepted", r"derivative for aten::\w+_backward is not implemented", (), "second derivatives where PyTorch has none"),
    Known("accepted", r"takes [23] positional arguments but [34] were given", ("addcmul", "addcdiv"),
          "value may go by position"),
    Known("accepted", "not yet implemented for tensors with different dtypes", ("heaviside",), "dtypes are promoted"),
    Known("accepted", "Autograd not support dtype", (), "a result of bools has no gradient"),
    Known("accepted", "\"unique\" not implemented for 'Complex", (), "complex numbers are compared too"),
    Known("accepted", "svd: The algorithm failed to converge", (), "all results are NaN for infinite elements"),
    Known("refused", "contained non-finite values", ("eigvalsh", "eigh"), "LAPACK's answer to NaN depends on its build"),
    Known("refused", "more than one element of the written-to tensor", (),
          "PyTorch looks for elements that share memory in expanded tensors alone"),
    Known("refused", "expected scalar type", ("bmm",), "two dtypes are refused in empty products too"),
    Known("refused", "must be int, not numpy.ndarray", (), "PyTorch takes an array for some ints and not for others"),
    Known("refused", "Expected A and B to have the same dtype", ("solve_triangular",),
          "PyTorch casts B to the dtype of A unasked"),
    Known("value", "result 2: (float32|complex64)", ("det",), "PyTorch's second derivative divides by the determinant"),
    Known("value", "not finite", ("slogdet", "logdet", "det", "matrix_power"), "as the order of eliminations has it",
          EXTREME),
    Known("value", "result 1: not finite: .*nan.* for ", ("i1",), "PyTorch has 1/2 at NaN"),
    Known("value", r"result [12]: not finite", ("logit",),
          "PyTorch's vectorised and scalar loops differ at -0, NaN and the bounds"),
    Known("value", r"not finite: float\d+\[[^a-z]*\] for .*inf", ("hypot", "softplus"),
          "PyTorch's intermediates overflow"),
    Known("value", r"not finite: complex.*inf.* for .*inf\+nanj", ("log", "log2", "log10"),
          "an infinite quotient of complex numbers is one of several"),
    Known("value", rf"result \d: float32\[{TINY}\] for float32\[{TINY}\]",
          ("cosine_similarity", "cosine_embedding_loss", "copysign", "hypot", "norm", "solve", "logaddexp", "logaddexp2"),
          "derivatives of which rounding errors are left"),
    Known("value", r"complex64\[(0\+0j(, )?)+\] for complex64\[(0\+0j(, )?)+\]", ("matrix_norm",),
          "derivatives of which rounding errors are left"),
    Known("accepted", "'split_sizes' .* must be tuple of ints, not numpy", ("split",), "NumPy's integers are sizes too"),
    Known("accepted", "descriptor 'where' for", ("where_method",), "numbers stand for tensors in every operand"),
    Known("accepted", "expected scalar.?type Double but found Float", ("logcumsumexp", "logsigmoid"),
          "what can be cast to the dtype of out= is, in every op"),
    Known("accepted", "Subtraction, the `-` operator, with a bool tensor", ("logaddexp", "logaddexp2", "pow"),
          "PyTorch's gradient fails for bools"),
    Known("accepted", r"adaptive_max_pool\dd_backward\(\): Expected grad_output to have non-zero size", (),
          "PyTorch's gradient of empty images fails"),
    Known("refused", "take_along_dim.*: dtype of indices should be Long|Expected dtype int32/int64 for index",
          ("take_along_dim", "gather"),
          "PyTorch does not look at the dtype of empty indices"),
    Known("accepted", "must match the size of tensor", ("normal",), "out= takes the shape of the result, in every op"),
    Known("value", "not finite", ("cumprod",), "PyTorch divides by elements that are infinite or NaN", EXTREME),
    Known("value", "not finite", ("var", "std", "var_mean", "std_mean"), "the order of sums says which of inf and NaN",
          EXTREME),
    Known("value", "not finite", ("mvlgamma", "multigammaln", "digamma", "psi"),
          "at the poles PyTorch divides by the sine of a rounded pi"),
    Known("value", r"result 1: float32\[", ("atan2",), "PyTorch squares small integers, which wrap around", r"u?int(8|16)"),
    Known("accepted", "normal does not support automatic differentiation", ("normal",), "its gradient is zero as for others"),
    Known("accepted", r"got \(Tensor, \w+, NoneType\)", ("var", "std", "var_mean", "std_mean"), "None is the default"),
    Known("refused", "converted to type int64_t without overflow", (), "PyTorch wraps 2**63 to 2**64 around"),
    Known("value", r"result \d+: (float|complex)\d+ for NoneType", ("vector_norm", "norm"),
          "gradients of order 0 are zeros, not absent"),
    Known("value", "result 1: not finite: .*nan.* for ", ("i1e",), "PyTorch has a number at NaN"),
    Known("accepted", r"got \((int|float|bool|numpy\.\w+), Tensor\)", ("fmod", "remainder", "floor_divide", "clamp_min",
          "clamp_max"),
          "numbers stand for tensors in every operand of an elementwise op"),
    Known("accepted", r"argument 'dtype' \(position 3\) must be torch.dtype", ("softmax", "log_softmax", "softmin"),
          "the third argument is that of nn.functional"),
    Known("accepted", r"got \(Tensor, NoneType", ("min", "max"), "None is the default"),
    Known("accepted", "Subtraction, the `-` operator, with a bool tensor", ("smooth_l1_loss",),
          "PyTorch's gradient fails for bools"),
    Known("accepted", "derivative for aten::bincount is not implemented", ("bincount",), "its weights get no gradient"),
    Known("accepted", "can't be cast to the desired output type (Bool|Byte|Char|Short|Int|Long)", ("addcdiv", "addcmul"),
          "PyTorch's gradient fails for bools and integers"),
    Known("accepted", r"\"(max_pool1d_impl|searchsorted_out_cpu|trace|cross|ref\w+_pad\dd|rep\w+_pad\dd|clamp_cpu|"
          r"addmv_impl_cpu|ldexp_cpu_exp|scatter_gather_tensor_cpu_reduce_mean)\" not implemented for '(Bool|Long|Byte)'", (),
          "what needs no fractions is there for integers and bools"),
    Known("refused", r"adaptive_avg_pool2d\(\): Expected 3D or 4D", ("adaptive_avg_pool2d",),
          "PyTorch does not look at the dimensions where the output is one element"),
    Known("refused", r"argument 'return_indices' .* must be bool", (), "PyTorch asks for the truth of any value here"),
    Known("accepted", r"derivative for aten::(remainder|fmod) is not implemented", ("remainder", "fmod"),
          "the remainder of a number has a derivative"),
    Known("accepted", r"_backward\" not implemented for '(BFloat16|Half)'", (), "derivatives in half precision too"),
    Known("accepted", r"argument 'other' .* must be Tensor, not numpy\.bool", (), "as other numbers in an elementwise op"),
    Known("accepted", r"converted to type c10::(Half|BFloat16) without overflow", (),
          "half types compute in float32, which holds the number"),
    Known("accepted", r"argument 'dim' .* must be int, not NoneType", ("median", "nanmedian"), "None is the default"),
    Known("accepted", r"celu\(\) takes from 1 to 2 positional arguments", ("celu",), "inplace may be given everywhere"),
    Known("accepted", r"len\(\) of unsized object", (), "an array of one int stands for it"),
    Known("refused", r"argument '(target|weight)' .* must be Tensor, not (int|float|bool)", ("multilabel_soft_margin_loss",
          "gaussian_nll_loss"),
          "the losses take tensors"),
    Known("refused", "must match the size of tensor|the shapes of query .* do not fit", ("scaled_dot_product_attention",),
          "PyTorch does not look at the sizes of empty products", EMPTY),
    Known("refused", r"expected (a hidden|input) weight of shape", LAYERS,
          "PyTorch reads past weights of another shape"),
    Known("refused", r"expected ([hc]x|(input|hidden) bias) to be .* like the input", (),
          "PyTorch promotes states and biases of another dtype in places only"),
    Known("refused", "argument 'input' .* must be Tensor, not (int|float|bool|numpy)", ("mul", "div", "add", "sub",
          "floor_divide"),
          "an elementwise op needs a tensor"),
    Known("refused", "Overflow when unpacking long long", (), "-2**63 has no absolute value in 64 bits"),
    Known("refused", "must be tuple of ints, but found element of type bool", (), "PyTorch looks at the first element alone"),
    Known("accepted", "INTERNAL ASSERT FAILED", (), "an error inside of PyTorch"),
    Known("accepted", "derivative for aten::bernoulli is not implemented", ("bernoulli",), "zeros, as without p"),
    Known("value", "result [12]", ("svdvals", "cond", "pinv", "matrix_rank"),
          "the derivative of a singular value of 0 depends on the vectors that LAPACK chose"),
    Known("value", "not finite", ("tensordot", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "linear", "inner", "dot",
                                    "mv", "addmv", "addr", "bilinear", "xlog1py", "layer_norm"),
          "which of inf and NaN a sum of huge products gives depends on its order", EXTREME),
    Known("value", r"e\+(0[5-9]|[1-9]\d)", ("pinverse",), "PyTorch inverts singular values that are rounding alone"),
    Known("value", r"not finite: float\d+\[(?!.*(nan|inf).* for)", ("gelu",), "its slope at infinity is 0 or 1, not 0 * inf"),
    Known("value", r"not finite: .* for float\d+\[.*nan", ("logaddexp",), "an operand of -inf counts for nothing in the second "
          "derivative too"),
    Known("value", r"\[0, 0, 0, 0, 0, 0\] for float\d+\[.*e-\d\d", ("logcumsumexp",), "PyTorch subtracts what is equal"),
    Known("value", "not finite: .*nan", ("svdvals",), "factors of infinite matrices are NaN, in PyTorch what LAPACK left"),
    Known("value", "not finite", ("pinv", "matrix_exp"), "all or some of the results of infinite matrices are NaN", EXTREME),
    Known("value", r"float\d+\[.*\] for float\d+\[.*\b0\b", ("ldexp",),
          "in gradients PyTorch takes 2 to an integer power in integers"),
    Known("refused", r"argument '(full|return_indices)' \(position \d\) must be bool, not (int|numpy\.bool)",
          ("gaussian_nll_loss", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
          "PyTorch's Python functions take any value for true or false"),
    Known("refused", r"expected (input|hidden) bias of shape \[\d+\]", (*CELLS, *LAYERS), "PyTorch broadcasts biases"),
    Known("refused", "must be int, not Tensor", ("randint",), "a tensor of one dimension is no number"),
    Known("refused", "mixed dtype|not implemented for 'Complex", ("instance_norm", "batch_norm"), "PyTorch skips empty inputs"),
    Known("refused", "not implemented for 'Complex", ("adaptive_avg_pool1d",), "no pooling of complex numbers"),
    Known("internal", r"OverflowError: (\w+\(\): argument '\w+'.*)?int too (big|large) to convert", (),
          "ints of more than 64 bits are refused, those of more than 63 where PyTorch wraps them"),
    Known("accepted", r"value cannot be converted to type (float|int|int64_t|at::Half|c10::\w+) without overflow", (),
          "numbers beyond a floating dtype are infinite; sizes of windows have 64 bits", r"e\+\d\d|\d{5,}|inf|nan"),
    Known("accepted", r"argument '(other|values)' \(position [12]\) must be Tensor, not (numpy\.\w+|int|float|bool)", (),
          "numbers stand for tensors in every operand of an elementwise op"),
    Known("accepted", r"got \((int|float|bool|numpy\.\w+), Tensor\)", ("copysign",),
          "numbers stand for tensors in every operand of an elementwise op"),
    Known("accepted", r"got \(Tensor, (\w+, )*numpy\.ndarray|len\(\) of unsized object", (),
          "an array of one integer is an integer"),
    Known("accepted", r"'dim' .*must be int, not NoneType|argument 'dtype' \(position 3\) must be torch.dtype, not int",
          ("softmax", "log_softmax", "softmin"), "nn.functional takes None for dim, and _stacklevel in the third place"),
    Known("accepted", r"(std|var)(_mean)?\(\) received an invalid combination of arguments - got \(Tensor.*NoneType",
          ("std", "var", "std_mean", "var_mean"), "None stands for what is not given"),
    Known("accepted", "The size of tensor a", ("normal",), "PyTorch does not resize out= for a mean that is a tensor"),
    Known("accepted", "ldexp_cpu_exp|input_is_complex == grad_is_complex", ("ldexp",),
          "bools as exponents; derivatives of mixed complex bases and exponents"),
    Known("accepted", r"pool\dd_backward\(\): Expected grad_output to have non-zero size", (), "gradients of empty results"),
    Known("accepted", "does not support automatic differentiation for outputs with complex dtype", (),
          "complex derivatives where PyTorch has none"),
    Known("accepted", "view size is not compatible", ("kron", "take_along_dim"), "PyTorch views where it has to copy"),
    Known("accepted", "returned an invalid gradient", ("scatter_add", "scatter_reduce"),
          "PyTorch's gradient of a source that is read in part fails"),
    Known("accepted", r"relu\(\) takes 1 positional argument", ("relu",), "nn.functional's form takes inplace by position"),
    Known("accepted", r"got \((int|float|bool|numpy\.\w+), Tensor\)", ("rsub",), "as in subtraction"),
    Known("accepted", "NoneType", ("bernoulli",), "None stands for what is not given"),
    Known("accepted", "OverflowError: int too big to convert", (), "ints of any size beside floating-point numbers"),
    Known("accepted", r"got \(Tensor, NoneType", ("pinv", "matrix_rank"), "None stands for what is not given"),
    Known("value", NUMBERS, ("rand_like", "randn_like", "randint_like"), "the drawn numbers depend on how a layout is walked"),
    Known("value", "not finite", ("i1", "i1e"), "at infinity and NaN PyTorch's derivatives are 0.5 or NaN", EXTREME),
    Known("accepted", "\"i1e_backward\" not implemented for '(BFloat16|Half)'", ("i0e",), "half types compute in float32"),
    Known("value", r"result [1-9]: ", ("cholesky_inverse",), "PyTorch's gradient counts both triangles of the factor"),
    Known("value", r"result [2-9]: ", ("cholesky_solve",), "PyTorch's gradient counts both triangles of the factor"),
    Known("value", "result 0: not finite: .*nan", ("cholesky_inverse",), "NaN reaches all that it is multiplied with", EXTREME),
    Known("value", "result 1: ", ("eigvals",), "derivatives of equal eigenvalues depend on the vectors that LAPACK chose",
          "strides="),
    Known("value", NUMBERS, ("softshrink", "hardshrink", "hardtanh", "relu6", "hardswish", "elu", "celu", "selu"),
          "PyTorch's vectorised and scalar loops have two gradients at NaN", "nan"),
    Known("value", "not finite", ("celu",), "PyTorch multiplies infinite alphas with 1 / alpha", r"inf\)"),
    Known("value", "result 4: ", ("prelu",), "PyTorch's slope at 0 is the weight, but has no derivative"),
    Known("value", NUMBERS, ("margin_ranking_loss",), "PyTorch negates targets in uint8, which wraps around", "uint8"),
    Known("value", NUMBERS, ("select_scatter", "diagonal_scatter", "slice_scatter"),
          "several elements in one place are written in any order", "strides="),
    Known("value", r"result [3-6]: not finite: .*nan", ("addcdiv",), "PyTorch multiplies 0 with infinity", "^twice"),
    Known("value", "not finite", ("batch_norm",), "PyTorch subtracts mean * weight from the bias", EXTREME),
    Known("value", NUMBERS, ("hinge_embedding_loss",), "PyTorch compares targets in uint8, where 255 is -1", "uint8"),
    Known("value", "result 0: ", ("histc",), "PyTorch finds the bins of half types in half precision", "float16"),
    Known("accepted", "cannot be represented as a SymInt", ("unfold",), "PyTorch's gradient multiplies steps",
          "^(backward|twice)"),
    Known("value", "result 0: not finite", ("softsign",), "PyTorch's 1 + |x| wraps around", "uint8"),
    Known("value", "not finite", ("matrix_power",), "as the order of products has it", r"-?\d{3,}\)"),
    Known("value", NUMBERS, ("layer_norm", "group_norm", "cosine_similarity"),
          "squares that overflow float32 are summed in float64", "huge"),
    Known("value", "not finite", ("soft_margin_loss",), "PyTorch's exp overflows", "huge|inf"),
    Known("value", "not finite: complex", ("sqrt",), "an infinite quotient of complex numbers is one of several", EXTREME),
    Known("value", r"result [45]: not finite", ("kl_div",), "PyTorch divides infinity by itself", "inf"),
    Known("value", r"NoneType for float\d+", ("cummax", "cummin"), "second derivatives of empty results are absent", EMPTY),
    Known("value", r"shape \(.*\) for \(", ("normal",), "out= takes the shape of the result, in every op", "^out"),
    Known("value", "result 0: ", ("masked_scatter",), "PyTorch reads what it has just written where the source is the target",
          "^inplace"),
    Known("value", "not finite", ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
          "infinity and NaN are multiplied with the zeros around an image too", EXTREME),
    Known("refused", r"linalg\.inv: ", ("slogdet", "logdet", "det"), "matrices with infinite elements have no inverse",
          EXTREME),
    Known("refused", r"argument 'p' .* must be float, not NoneType", ("normalize",), "None is no order"),
    Known("accepted", "The size of tensor a", ("lstsq",), "batches of right sides are broadcast"),
    Known("accepted", "expects dims to be int", ("tensordot",), "NumPy's integers are integers", r"np\.int"),
    Known("accepted", "split_size can only be 0", ("chunk",), "PyTorch's quotient rounded up wraps around", str(2**63 - 1)),
    Known("accepted", "Promotion for uint16", ("rrelu",), "numbers of more than 63 bits are numbers", str(2**63)),
    Known("accepted", r"got \(Tensor, NoneType\)", ("squeeze", "prod"), "None is the default"),
    Known("accepted", "start out of range", ("diff",), "PyTorch's form with out= fails for empty dimensions", EMPTY),
    Known("accepted", r"relu_\(\) takes no arguments", ("relu",), "inplace may be given everywhere"),
    Known("accepted", r"threshold\(\) takes 3 positional arguments but 4", ("threshold",), "inplace may be given everywhere"),
    Known("accepted", r"object of type 'numpy\.int\d+' has no len|len\(\) of a 0-d tensor",
          ("adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
          "NumPy's integers and 0-d tensors are sizes too"),
    Known("accepted", "doesn't match the broadcast shape", ("clamp",), "PyTorch's gradient fails where bounds are larger",
          "^(backward|twice)"),
    Known("accepted", "std::vector|std::bad_alloc|integer multiplication overflow", ("combinations",),
          "only the choices there are are made"),
    Known("accepted", "addmv input tensors must have the same dtype", ("addr",), "PyTorch's gradient fails for mixed dtypes"),
    Known("accepted", "Expected a proper Tensor but got None", ("instance_norm", "batch_norm", "group_norm"),
          "PyTorch's second derivative needs a weight", "^twice"),
    Known("accepted", r"(multi_margin_loss_cpu_kernel|avg_pool3d_out_frame)\" not implemented for '(Half|BFloat16)'",
          ("multi_margin_loss", "local_response_norm"), "half types compute in float32"),
    Known("accepted", "does not support negative n", ("polygamma", "polygamma_method"), "PyTorch's n + 1 wraps around",
          str(2**63 - 1)),
    Known("accepted", "not differentiable with respect to argument '(pos_)?weight'",
          ("binary_cross_entropy", "binary_cross_entropy_with_logits"), "weights have gradients too"),
    Known("accepted", r"\"[lr]shift_cpu\" not implemented for 'Float'", ("bitwise_left_shift", "bitwise_right_shift"),
          "a bool is an integer"),
    Known("accepted", "takes 0 positional arguments but 1 was given", ("cfloat", "cdouble"), "as the other conversions"),
    Known("refused", "not implemented for '(Char|Byte|Short|Int|Long|Bool)'", ("softmax", "log_softmax", "softmin", "bernoulli",
          "instance_norm"), "PyTorch does not look at the dtype of empty inputs", EMPTY),
    Known("refused", r"linalg\.(cond|svd): ", ("cond", "svd"), "PyTorch does not look at empty matrices", EMPTY),
    Known("refused", "Dimension out of range", ("cummin", "cummax"), "PyTorch does not look at dim for empty inputs", EMPTY),
    Known("refused", "result type Complex.* can't be cast to the desired output type", ("mean", "logsumexp"),
          "PyTorch writes the real part of a complex result into a real out=", "complex"),
    Known("refused", "can't be cast to the desired output type", ("hinge_embedding_loss",),
          "PyTorch mixes floating-point margins with integers", r"u?int\d"),
    Known("refused", "there is no complex32", ("view_as_complex",), "there is no complex32"),
    Known("refused", "Storage size calculation overflowed", ("as_strided",), "PyTorch's sizes times strides wrap around"),
    Known("refused", r"takes 2 positional arguments but 3 were given", ("add", "sub"), "PyTorch's old place of alpha"),
    Known("refused", r"avg_pool\dd\" not implemented for 'Long'", ("avg_pool1d", "avg_pool2d"),
          "PyTorch has means of int64, and of no other integers"),
    Known("refused", "can't allocate memory|negative dimension", ("rand", "randn"), "PyTorch draws into out= as it is", "^out"),
)


def known(op, kind, text, call):
    """Whether a difference is meant; ``call`` is the call as text."""
    return any(k.covers(op, kind, text, call) for k in KNOWN)


class Failure:
    """An exception as text, and whether it was raised on purpose."""

    def __init__(self, error, here):
        self.kind, self.text = type(error).__name__, " ".join(str(error).split())[:160]
        last = traceback.extract_tb(error.__traceback__)[-1]
        line = (last.line or linecache.getline(last.filename, last.lineno)).strip()
        self.place = f"{last.filename.rpartition('numbagrad/')[2]}:{last.lineno}"
        self.deliberate = line.startswith("raise") or last.filename.startswith(here) or "<" in last.filename

    def inside(self, theirs):
        """Whether this is an accident, judged by its type, its words, or by PyTorch giving another type."""
        if self.kind == "TypeError" and re.search(r"\(\): argument '\w+'.* must be", self.text):
            return False  # the check of an argument names its class, which may be one of the words below
        if self.kind in INSIDE or any(w in self.text for w in WORDS):
            return not (isinstance(theirs, Failure) and theirs.kind == self.kind and self.deliberate)
        return not self.deliberate and not (isinstance(theirs, Failure) and theirs.kind == self.kind)

    def __str__(self):
        return f"{self.kind}: {self.text}"


def oracle(op):
    """PyTorch's function for an op, or None."""
    try:
        return torch_function(op)
    except (ImportError, AttributeError):
        return None


def verdict(ours, theirs, ng, torch, twice=False, dtypes=()):
    """(class, text) of the difference between two outcomes (lists of results, or Failures), or None.

    ``theirs`` is None where PyTorch was not asked; ``dtypes`` are those of the inputs, whose half types may be rounded to."""
    if isinstance(ours, Failure):
        if ours.inside(theirs):
            return "internal", f"{ours} ({ours.place})"
        if theirs is not None and not isinstance(theirs, Failure):
            return "refused", str(ours)
        return None
    if theirs is None:
        return None
    if isinstance(theirs, Failure):
        return "accepted", f"PyTorch: {theirs}"
    if twice and len(ours) > len(theirs) and not any(nonzero(a, ng) for a in ours[len(theirs):]):
        ours = ours[:len(theirs)]  # second derivatives of 0 where PyTorch has no graph
    if len(ours) != len(theirs):
        return "value", f"{len(ours)} results for {len(theirs)}"
    for i, (a, b) in enumerate(zip(ours, theirs)):
        text = difference(*numbers(a, ng), *numbers(b, torch), max([HALF.get(d, 0) for d in dtypes], default=0))
        if text:
            return "value", f"result {i}: {text}"
    return None


def nonzero(x, lib):
    """Whether a result has elements that are not zero."""
    values = numbers(x, lib)[1]
    return values.dtype != object and values.any()


def difference(name, a, other, b, least=0):
    """What differs between two results by more than their tolerance or ``least``, or None."""
    if name != other:
        return f"{name} for {other}"
    if a.shape != b.shape:
        return f"shape {a.shape} for {b.shape}"
    if a.dtype == object:
        return None if a.item() == b.item() else f"{a} for {b}"
    if not a.size:
        return None
    allowed = max(TOLERANCE[name], least) if name in TOLERANCE else 0
    with np.errstate(all="ignore"):
        finite = np.isfinite(a) & np.isfinite(b)
        same = np.array_equal(a[~finite], b[~finite], equal_nan=a.dtype.kind in "fc")
        wide = "c16" if a.dtype.kind == "c" else "f8"
        x, y = a[finite].astype(wide), b[finite].astype(wide)
        scale = np.abs(y).max(initial=0)
        off = np.abs(x - y).max(initial=0)
    if not same:
        return f"not finite: {short(a)} for {short(b)}"
    return None if off <= allowed * (scale + 1e-6) else f"{short(a)} for {short(b)}"


def short(a):
    return f"{name}[{', '.join(f'{v:.6g}' for v in a.reshape(-1)[:6])}]" if (name := a.dtype.name) else ""
