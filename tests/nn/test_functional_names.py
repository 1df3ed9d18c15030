"""What copies of PyTorch's layers and older scripts take of nn.functional, beside PyTorch."""

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def drawn(lib, *shapes):
    rng = np.random.default_rng(0)
    return [lib.tensor(rng.standard_normal(s)) for s in shapes]


@pytest.mark.parametrize("call", [
    lambda lib, F, x: F.upsample(x, scale_factor=2), lambda lib, F, x: F.upsample(x, (3, 3), mode="bilinear"),
    lambda lib, F, x: F.upsample_nearest(x, scale_factor=2), lambda lib, F, x: F.upsample_bilinear(x, size=(5, 7))])
def test_upsampling_warns(call):
    def run(lib):
        with pytest.warns(UserWarning) as seen:
            y = call(lib, lib.nn.functional, *drawn(lib, (1, 2, 4, 5)))
        return y.numpy(), [(str(w.message), w.filename, w.category) for w in seen]
    (ours, said), (theirs, theirs_said) = run(ng), run(torch)
    assert np.allclose(ours, theirs, rtol=1e-12) and said == theirs_said


@pytest.mark.parametrize("pad", [0, 2])
def test_conv_tbc(pad):
    def run(lib):
        tensors = [t.requires_grad_() for t in drawn(lib, (6, 2, 3), (3, 3, 4), (4,))]
        y = lib.conv_tbc(*tensors, pad)
        (y ** 2).sum().backward()
        return type(y.grad_fn).__name__, y.is_contiguous(), [t.detach().numpy() for t in (y, *[t.grad for t in tensors])]
    ours, theirs = run(ng), run(torch)
    assert ours[:2] == theirs[:2]
    for a, b in zip(ours[2], theirs[2], strict=True):
        assert np.allclose(a, b, rtol=1e-12)


def said(lib, call):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call(lib, lib.nn.functional, lib.zeros)
    return caught.type.__name__, str(caught.value)


@pytest.mark.parametrize("call", [
    lambda lib, F, z: lib.conv_tbc(z(5, 2, 3), z(3, 3, 4), z(5)),
    lambda lib, F, z: lib.conv_tbc(z(5, 2, 3), z(3, 4, 4), z(4)),
    lambda lib, F, z: lib.conv_tbc(z(5, 3), z(3, 4, 4), z(4)),
    lambda lib, F, z: lib.conv_tbc(z(5, 2, 3), z(3, 4), z(4)),
    lambda lib, F, z: lib.conv_tbc(z(5, 2, 3), z(3, 3, 4), z(4, 1)),
    lambda lib, F, z: lib.conv_tbc(z(1, 2, 3), z(3, 3, 4), z(4)),
    lambda lib, F, z: F._none_or_dtype(3),
    lambda lib, F, z: F._canonical_mask(z(2).long(), "attn_mask", None, "", lib.float32),
    lambda lib, F, z: F._mha_shape_check(z(2, 2, 2), z(2, 2), z(2, 2), None, None, 1),
    lambda lib, F, z: F._in_projection(z(2, 4), z(2, 3), z(2, 5), z(4, 4), z(4, 4), z(4, 5)),
    lambda lib, F, z: F._in_projection(z(2, 4), z(2, 3), z(2, 5), z(4, 4), z(4, 3), z(4, 5), z(4), z(3)),
    lambda lib, F, z: F._verify_batch_size([1, 3, 1])])
def test_errors(call):
    assert said(ng, call) == said(torch, call)


def test_helpers_of_attention():
    def run(lib):
        F = lib.nn.functional
        q, k, v, w, b = drawn(lib, (2, 3, 4), (5, 3, 4), (5, 3, 4), (12, 4), (12,))
        found = [*F._in_projection_packed(q, q, q, w, b), *F._in_projection_packed(q, k, k, w, b),
                 *F._in_projection_packed(q, k, v, w), *F._in_projection(q, k, v, w[:4], w[4:8], w[8:], b[:4], None, b[8:])]
        mask = lib.tensor([[True, False], [False, True]])
        found += [F._canonical_mask(mask, "attn_mask", None, "", lib.float64), F._canonical_mask(q, "a", None, "", lib.float32)]
        plain = [F._canonical_mask(None, "a", None, "", lib.float32), F._none_or_dtype(None),
                 str(F._none_or_dtype(q)).split(".")[1],
                 F._mha_shape_check(q, k, v, None, None, 1), F._mha_shape_check(q[0], k[0], v[0], None, None, 1)]
        with pytest.warns(UserWarning) as seen:
            plain += [F._get_softmax_dim("softmax", n, 2) for n in range(5)]
            F._canonical_mask(mask, "attn_mask", lib.float32, "key_padding_mask", lib.float32)
        return [t.numpy() for t in found], plain, [str(w.message) for w in seen]
    ours, theirs = run(ng), run(torch)
    assert ours[1:] == theirs[1:]
    for a, b in zip(ours[0], theirs[0], strict=True):
        assert np.allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients_of_convolutions(n):
    def run(lib):
        options = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
        x, w = drawn(lib, (2, 4, *[5] * n), (6, 2, *[3] * n))
        g = getattr(lib.nn.functional, f"conv{n}d")(x, w, None, **options) * 0.5
        x, w, g = (t.requires_grad_() for t in (x, w, g))
        found = [getattr(lib.nn.grad, f"conv{n}d_input")(x.shape, w, g, **options),
                 getattr(lib.nn.grad, f"conv{n}d_weight")(x, w.shape, g, **options)]
        total = sum((t ** 2).sum() for t in found)
        with lib.no_grad():
            assert not getattr(lib.nn.grad, f"conv{n}d_input")(x.shape, w, g, **options).requires_grad
        return [t.detach().numpy() for t in (*found, *lib.autograd.grad(total, (x, w, g)))]
    for a, b in zip(run(ng), run(torch), strict=True):
        assert np.allclose(a, b, rtol=1e-9, atol=1e-9)


def test_sizes_and_prefixes():
    from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present as theirs

    from numbagrad.nn.modules.utils import consume_prefix_in_state_dict_if_present as ours

    for lib in (ng, torch):
        u = lib.nn.modules.utils
        assert u._pair(3) == (3, 3) and u._triple([1, 2, 3]) == (1, 2, 3) and u._single(1) == (1,)
        assert u._ntuple(5)(0) == (0,) * 5
        assert u._reverse_repeat_tuple((1, 2), 2) == (2, 2, 1, 1) and u._list_with_default([None, 3], [7, 8, 9]) == [8, 3]
        assert u._pair.__name__ == "_pair"

    def states(lib, strip):
        model = lib.nn.Sequential()
        model.add_module("module", lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.BatchNorm1d(2)))
        state = model.state_dict()
        strip(state, "module.")
        return list(state), list(state._metadata.items())
    assert states(ng, ours) == states(torch, theirs)


def test_types_of_sizes():
    for name in dir(torch.nn.common_types):
        if name.startswith("_") and name.endswith("_t"):
            assert str(getattr(ng.nn.common_types, name)).replace("numbagrad.", "torch.") == str(
                getattr(torch.nn.common_types, name)), name


def test_private_initialisers():
    def run(lib):
        lib.manual_seed(0)
        t = lib.empty(3, 4)
        init = lib.nn.init
        return [f().clone().numpy() for f in (
            lambda: init._no_grad_uniform_(t, -1, 2), lambda: init._no_grad_normal_(t, 1, 2), lambda: init._no_grad_fill_(t, 3),
            lambda: init._no_grad_trunc_normal_(t, 0, 1, -1, 1), lambda: init._no_grad_zero_(t))]
    for a, b in zip(run(ng), run(torch), strict=True):
        assert np.array_equal(a, b)
