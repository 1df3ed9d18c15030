"""Which file has which ops ("ops": all names in the registry), and where users find them: see `ops/__init__.py`.

Written by `python -m numbagrad contents`."""

CONTENTS = {
    "pointwise.activation": {
        "numbagrad":
            "celu celu_ selu selu_",
        "numbagrad.nn.functional":
            "celu celu_ elu elu_ gelu logsigmoid mish selu selu_ silu softplus softsign tanhshrink",
        "ops":
            "celu celu_ celu_kernel elu elu_ gelu gelu_slope gelu_tanh log1pexp logsigmoid mish normal_cdf selu selu_ silu "
            "softplus softsign tanhshrink",
    },
    "pointwise.arithmetic": {
        "Tensor":
            "__abs__ __add__ __div__ __floordiv__ __iadd__ __idiv__ __ifloordiv__ __imod__ __imul__ __ipow__ __isub__ "
            "__itruediv__ __mod__ __mul__ __neg__ __pow__ __radd__ __rdiv__ __rfloordiv__ __rmod__ __rmul__ __rpow__ "
            "__rsub__ __rtruediv__ __sub__ __truediv__ abs abs_ absolute absolute_ acos acos_ acosh acosh_ add add_ arccos "
            "arccos_ arccosh arccosh_ arcsin arcsin_ arcsinh arcsinh_ arctan arctan2 arctan2_ arctan_ arctanh arctanh_ asin"
            " asin_ asinh asinh_ atan atan2 atan2_ atan_ atanh atanh_ ceil ceil_ cos cos_ cosh cosh_ div div_ divide "
            "divide_ erf erf_ erfc erfc_ erfinv erfinv_ exp exp2 exp2_ exp_ expm1 expm1_ fix fix_ floor floor_ floor_divide"
            " floor_divide_ fmod fmod_ log log10 log10_ log1p log1p_ log2 log2_ log_ maximum minimum mul mul_ multiply "
            "multiply_ neg neg_ negative negative_ pow pow_ reciprocal reciprocal_ remainder remainder_ rsqrt rsqrt_ rsub "
            "sigmoid sigmoid_ sign sign_ sin sin_ sinh sinh_ sqrt sqrt_ square square_ sub sub_ subtract subtract_ tan tan_"
            " tanh tanh_ true_divide true_divide_ trunc trunc_",
        "numbagrad":
            "abs abs_ absolute acos acos_ acosh acosh_ add arccos arccos_ arccosh arccosh_ arcsin arcsin_ arcsinh arcsinh_ "
            "arctan arctan2 arctan_ arctanh arctanh_ asin asin_ asinh asinh_ atan atan2 atan_ atanh atanh_ ceil ceil_ cos "
            "cos_ cosh cosh_ div divide erf erf_ erfc erfc_ erfinv exp exp2 exp2_ exp_ expm1 expm1_ fix fix_ floor floor_ "
            "floor_divide fmod log log10 log10_ log1p log1p_ log2 log2_ log_ maximum minimum mul multiply neg neg_ negative"
            " negative_ pow reciprocal reciprocal_ remainder rsqrt rsqrt_ rsub sigmoid sigmoid_ sign sin sin_ sinh sinh_ "
            "sqrt sqrt_ square square_ sub subtract tan tan_ tanh tanh_ true_divide trunc trunc_",
        "numbagrad.nn.functional":
            "sigmoid tanh",
        "numbagrad.special":
            "erf erfc erfinv exp2 expm1 log1p",
        "ops":
            "abs acos acosh add asin asinh atan atan2 atanh ceil cos cosh div div_floor div_trunc div_whole erf erfc erfinv"
            " exp exp2 expm1 floor floor_divide fmod log log10 log1p log2 maximum minimum mul neg pow pow_2 pow_3 pow_half "
            "pow_minus_half reciprocal remainder rsqrt rsub sigmoid sign sin sinh sqrt square sub tan tanh trunc",
    },
    "pointwise.binary": {
        "Tensor":
            "__pos__ addcdiv addcdiv_ addcmul addcmul_ copysign copysign_ deg2rad deg2rad_ float_power float_power_ fmax "
            "fmin frac frac_ gcd gcd_ heaviside heaviside_ hypot hypot_ lcm lcm_ ldexp ldexp_ lerp lerp_ positive rad2deg "
            "rad2deg_ round round_ sgn sgn_",
        "numbagrad":
            "addcdiv addcmul copysign deg2rad deg2rad_ float_power fmax fmin frac frac_ gcd gcd_ heaviside hypot lcm lcm_ "
            "ldexp ldexp_ lerp positive rad2deg rad2deg_ round round_ sgn",
        "numbagrad.special":
            "round",
        "ops":
            "abs_complex addcdiv addcmul copysign deg2rad float_power fmax fmin frac gcd heaviside hypot lcm ldexp lerp "
            "positive rad2deg round round_down round_up sgn sgn_complex",
    },
    "pointwise.clamp": {
        "Tensor":
            "clamp clamp_ clamp_max clamp_max_ clamp_min clamp_min_ clip clip_",
        "numbagrad":
            "clamp clamp_ clamp_max clamp_max_ clamp_min clamp_min_ clip clip_",
        "ops":
            "clamp clamp_between clamp_high clamp_low clamp_max clamp_min clamp_numbers",
    },
    "pointwise.compare": {
        "Tensor":
            "__eq__ __ge__ __gt__ __le__ __lt__ __ne__ eq ge greater greater_equal gt le less less_equal lt ne not_equal",
        "numbagrad":
            "eq ge greater greater_equal gt le less less_equal lt ne not_equal",
        "ops":
            "eq ge gt le lt ne",
    },
    "pointwise.gated": {
        "numbagrad":
            "rrelu rrelu_",
        "numbagrad.nn.functional":
            "glu rrelu rrelu_",
        "ops":
            "glu glu_backward rrelu rrelu_ rrelu_kernel rrelu_with_noise",
    },
    "pointwise.incomplete_gamma": {
        "Tensor":
            "igamma igamma_ igammac igammac_",
        "numbagrad":
            "igamma igammac",
        "numbagrad.special":
            "gammainc gammaincc",
        "ops":
            "gammainc gammaincc igamma igamma_lower igamma_upper igammac",
    },
    "pointwise.logic": {
        "Tensor":
            "__and__ __iand__ __ilshift__ __invert__ __ior__ __irshift__ __ixor__ __lshift__ __or__ __rand__ __rlshift__ "
            "__ror__ __rrshift__ __rshift__ __rxor__ __xor__ allclose bitwise_and bitwise_and_ bitwise_left_shift "
            "bitwise_left_shift_ bitwise_not bitwise_not_ bitwise_or bitwise_or_ bitwise_right_shift bitwise_right_shift_ "
            "bitwise_xor bitwise_xor_ equal isclose isfinite isinf isnan isneginf isposinf isreal logical_and logical_and_ "
            "logical_not logical_not_ logical_or logical_or_ logical_xor logical_xor_ signbit where",
        "numbagrad":
            "allclose bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor equal isclose "
            "isfinite isinf isnan isneginf isposinf isreal logical_and logical_not logical_or logical_xor signbit where",
        "ops":
            "allclose bit_complement bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor "
            "equal isclose isclose_kernel isfinite isinf isnan isneginf isposinf isreal logical_and logical_and_ "
            "logical_not logical_not_ logical_or logical_or_ logical_xor logical_xor_ signbit signbit_float where "
            "where_else where_method where_number where_tensors",
    },
    "pointwise.multiples": {
        "ops":
            "add_multiple sub_multiple",
    },
    "pointwise.piecewise_linear": {
        "Tensor":
            "hardshrink prelu relu relu_",
        "numbagrad":
            "hardshrink prelu relu relu_ threshold threshold_",
        "numbagrad.nn.functional":
            "hardshrink hardsigmoid hardswish hardtanh hardtanh_ leaky_relu leaky_relu_ prelu relu relu6 relu_ softshrink "
            "threshold threshold_",
        "ops":
            "hardshrink hardsigmoid hardswish hardtanh hardtanh_ leaky_relu leaky_relu_ prelu prelu_kernel relu relu6 relu_"
            " softshrink softshrink_kernel threshold threshold_",
    },
    "pointwise.special": {
        "Tensor":
            "digamma digamma_ i0 i0_ lgamma lgamma_ logaddexp logaddexp2 logit logit_ mvlgamma mvlgamma_ nan_to_num "
            "nan_to_num_ polygamma polygamma_ sinc sinc_ xlogy xlogy_",
        "numbagrad":
            "digamma i0 i0_ lgamma logaddexp logaddexp2 logit logit_ mvlgamma nan_to_num nan_to_num_ polygamma sinc sinc_ "
            "xlogy xlogy_",
        "numbagrad.special":
            "digamma entr expit gammaln i0 i0e i1 i1e logit multigammaln ndtr polygamma psi sinc xlog1py xlogy",
        "ops":
            "digamma entr expit gammaln i0 i0e i1 i1e lgamma logaddexp logaddexp2 logaddexp_complex logit logit_between "
            "multigammaln mvlgamma nan_to_num nan_to_num_kernel ndtr polygamma polygamma_kernel polygamma_method "
            "polygamma_zero psi sinc trigamma xlog1py xlogy",
    },
    "pointwise.written": {
        "Tensor":
            "apply_ eq_ fill_diagonal_ ge_ greater_ greater_equal_ gt_ is_nonzero le_ less_ less_equal_ lt_ map2_ map_ ne_ "
            "new not_equal_",
        "numbagrad":
            "is_nonzero",
    },
    "view.complex": {
        "Tensor":
            "angle conj conj_physical conj_physical_ imag is_conj is_neg real resolve_conj resolve_neg",
        "numbagrad":
            "angle complex conj conj_physical conj_physical_ imag polar real resolve_conj resolve_neg view_as_complex "
            "view_as_real",
        "ops":
            "angle angle_complex angle_real complex complex_pairs conj conj_copy conj_physical from_parts from_polar imag "
            "polar real resolve_conj resolve_neg view_as_complex view_as_real",
        "properties":
            "imag real",
    },
    "view.copies": {
        "Tensor":
            "narrow_copy unsafe_chunk unsafe_split unsafe_split_with_sizes",
        "numbagrad":
            "alias_copy as_strided_copy detach_copy diagonal_copy expand_copy narrow_copy permute_copy select_copy "
            "slice_copy split_copy split_with_sizes_copy squeeze_copy t_copy transpose_copy unbind_copy unfold_copy "
            "unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze_copy view_as_complex_copy view_as_real_copy "
            "view_copy",
    },
    "view.dims": {
        "Tensor":
            "H T adjoint mH mT moveaxis movedim permute squeeze squeeze_ swapaxes swapaxes_ swapdims swapdims_ t t_ "
            "transpose transpose_ unsqueeze unsqueeze_",
        "numbagrad":
            "adjoint atleast_1d atleast_2d atleast_3d moveaxis movedim permute squeeze swapaxes swapdims t transpose "
            "unsqueeze",
        "ops":
            "adjoint atleast_1d atleast_2d atleast_3d movedim permute permuted squeeze squeeze_all squeeze_one squeeze_some"
            " t transpose unsqueeze",
        "properties":
            "H T mH mT",
    },
    "view.shape": {
        "Tensor":
            "broadcast_to expand expand_as flatten ravel reshape reshape_as unflatten view view_as",
        "numbagrad":
            "broadcast_shapes broadcast_tensors broadcast_to flatten ravel reshape unflatten",
        "ops":
            "alias broadcast_shapes broadcast_tensors broadcast_to expand expand_as expanded flatten ravel reshape "
            "reshape_alias reshape_as unflatten unsafe_view view view_as view_shape",
    },
    "view.slice_scatter": {
        "Tensor":
            "as_strided_scatter diagonal_scatter select_scatter slice_scatter",
        "numbagrad":
            "as_strided_scatter diagonal_scatter select_scatter slice_scatter",
        "ops":
            "as_strided_scatter diagonal_scatter select_scatter slice_scatter with_region",
    },
    "view.slicing": {
        "Tensor":
            "as_strided as_strided_ diagonal narrow select",
        "numbagrad":
            "as_strided as_strided_ diagonal narrow select",
        "ops":
            "as_strided diagonal embed narrow pile select slice strided strided_from",
    },
    "view.windows": {
        "Tensor":
            "unfold",
        "ops":
            "unfold windows_back",
    },
    "product.addmm": {
        "Tensor":
            "addbmm addbmm_ addmm addmm_ addmv addmv_ addr addr_ baddbmm baddbmm_ ger outer",
        "numbagrad":
            "addbmm addmm addmv addmv_ addr baddbmm ger outer",
        "ops":
            "addbmm addmm addmv addr addr_alike baddbmm gemm_add gemm_sum_add outer outer_alike",
    },
    "product.contract": {
        "Tensor":
            "inner kron",
        "numbagrad":
            "chain_matmul inner kron tensordot",
        "numbagrad.linalg":
            "multi_dot",
        "ops":
            "chain_matmul inner kron kron_alike multi_dot tensordot",
    },
    "product.einsum": {
        "numbagrad":
            "einsum",
        "ops":
            "einsum",
    },
    "product.gemm": {
        "ops":
            "gemm",
    },
    "product.inner_products": {
    },
    "product.linear": {
        "numbagrad":
            "bilinear",
        "numbagrad.nn.functional":
            "bilinear linear",
        "ops":
            "bilinear linear linear_nd",
    },
    "product.matmul": {
        "Tensor":
            "__matmul__ __rmatmul__ bmm dot matmul mm mv vdot",
        "numbagrad":
            "bmm dot matmul mm mv vdot",
        "ops":
            "bmm dot matmul matmul_nd mm mv vdot",
    },
    "product.product": {
    },
    "product.recipe": {
    },
    "index.access": {
    },
    "index.along": {
    },
    "index.by_plan": {
        "ops":
            "collect put_at spread",
    },
    "index.chosen": {
        "ops":
            "chosen returned",
    },
    "index.embedding": {
        "numbagrad.nn.functional":
            "embedding one_hot",
        "ops":
            "embedding one_hot rows_for_few rows_of sum_rows",
    },
    "index.getitem": {
        "Tensor":
            "__getitem__",
    },
    "index.histogramdd": {
        "numbagrad":
            "histogramdd",
        "ops":
            "boxes histogramdd",
    },
    "index.histograms": {
        "Tensor":
            "histc histogram",
        "numbagrad":
            "histc histogram",
        "ops":
            "counted histc histogram shared",
    },
    "index.joined": {
    },
    "index.kernels": {
    },
    "index.mask": {
        "Tensor":
            "argwhere masked_fill masked_fill_ masked_scatter masked_scatter_ masked_select nonzero",
        "numbagrad":
            "argwhere masked_fill masked_scatter masked_select nonzero",
        "ops":
            "argwhere filled masked_fill masked_scatter masked_select nonzero scattered_by_mask taken_by_mask",
    },
    "index.places": {
        "ops":
            "number_at piled piled_at_two placed placed_at_two taken taken_at_two",
    },
    "index.plans": {
    },
    "index.reduced": {
        "ops":
            "reduced_at",
    },
    "index.scatter": {
        "Tensor":
            "gather index_add index_add_ index_reduce index_reduce_ scatter scatter_ scatter_add scatter_add_ "
            "scatter_reduce scatter_reduce_ take_along_dim",
        "numbagrad":
            "gather index_add index_reduce scatter scatter_add scatter_reduce take_along_dim",
        "ops":
            "gather index_add index_reduce scatter scatter_add scatter_reduce take_along_dim",
    },
    "index.search": {
        "Tensor":
            "bincount unique unique_consecutive",
        "numbagrad":
            "bincount bucketize isin searchsorted unique unique_consecutive",
        "ops":
            "among bincount bucketize isin searchsorted unique unique_consecutive",
    },
    "index.select_kernels": {
    },
    "index.select_put": {
        "Tensor":
            "index_copy index_copy_ index_fill index_fill_ index_put index_put_ index_select put put_ take",
        "numbagrad":
            "index_copy index_fill index_put index_put_ index_select put take",
        "ops":
            "index_copy index_fill index_put index_select put take",
    },
    "index.setitem": {
        "Tensor":
            "__setitem__",
    },
    "index.sort": {
        "Tensor":
            "argsort kthvalue msort sort topk",
        "numbagrad":
            "argsort kthvalue msort sort topk",
        "ops":
            "argsort kthvalue msort positions put_back ranked sort topk",
    },
    "index.unravel": {
        "Tensor":
            "dim_order new_empty_strided nonzero_static pin_memory sum_to_size",
        "numbagrad":
            "nonzero_static unravel_index",
        "ops":
            "nonzero_static unravel_index",
    },
    "random.draw": {
        "Tensor":
            "bernoulli multinomial",
        "numbagrad":
            "bernoulli multinomial normal rand rand_like randint randint_like randn randn_like randperm",
        "ops":
            "bernoulli multinomial normal rand rand_like randint randint_like randn randn_like randperm",
    },
    "random.dropout": {
        "numbagrad.nn.functional":
            "alpha_dropout dropout dropout1d dropout2d dropout3d feature_alpha_dropout",
        "ops":
            "alpha_dropout dropout dropout1d dropout2d dropout3d feature_alpha_dropout",
    },
    "random.families": {
        "numbagrad":
            "_sample_dirichlet _standard_gamma binomial poisson",
        "ops":
            "_sample_dirichlet _standard_gamma binomial gamma_draw poisson",
    },
    "random.fill": {
        "Tensor":
            "bernoulli_ cauchy_ exponential_ geometric_ log_normal_ normal_ random_ uniform_",
    },
    "random.implicit_gradients": {
        "numbagrad":
            "_dirichlet_grad _standard_gamma_grad",
        "ops":
            "_dirichlet_grad _standard_gamma_grad beta_slope gamma_slope",
    },
    "rearrange.bits": {
        "Tensor":
            "frexp nextafter nextafter_",
        "numbagrad":
            "frexp nextafter",
        "ops":
            "frexp frexp_bits nextafter nextafter_bits",
    },
    "rearrange.copy": {
        "Tensor":
            "bfloat16 bool byte cdouble cfloat char clone contiguous cpu cuda double float half int long short to type_as",
        "numbagrad":
            "clone",
        "ops":
            "bfloat16 bool byte cdouble cfloat char clone contiguous cpu cuda double float half int long short to to_copy "
            "type_as",
    },
    "rearrange.join": {
        "Tensor":
            "combinations",
        "numbagrad":
            "block_diag cartesian_prod cat column_stack combinations concat concatenate dstack hstack meshgrid row_stack "
            "stack vstack",
        "ops":
            "block_diag blocks cartesian_prod cat column_stack combinations dstack hstack joined meshgrid stack stacked "
            "vstack",
    },
    "rearrange.pixel_shuffle": {
        "numbagrad":
            "channel_shuffle native_channel_shuffle pixel_shuffle pixel_unshuffle",
        "numbagrad.nn.functional":
            "channel_shuffle native_channel_shuffle pixel_shuffle pixel_unshuffle",
        "ops":
            "channel_shuffle pixel_shuffle pixel_unshuffle",
    },
    "rearrange.repeat": {
        "Tensor":
            "flip fliplr flipud repeat repeat_interleave roll rot90 tile",
        "numbagrad":
            "flip fliplr flipud repeat_interleave roll rot90 tile",
        "ops":
            "flip fliplr flipped flipud interleaved numbered repeat repeat_interleave repeated roll rolled rot90 tile "
            "turned",
    },
    "rearrange.split": {
        "Tensor":
            "chunk dsplit hsplit split split_with_sizes tensor_split unbind vsplit",
        "numbagrad":
            "chunk dsplit hsplit split split_with_sizes tensor_split unbind vsplit",
        "ops":
            "chunk dsplit hsplit split split_chunked split_even split_sized split_with_sizes tensor_split unbind vsplit",
    },
    "rearrange.triangular": {
        "Tensor":
            "cross diag diag_embed diagflat trace tril tril_ triu triu_",
        "numbagrad":
            "cross diag diag_embed diagflat trace tril tril_indices triu triu_indices vander",
        "numbagrad.linalg":
            "cross",
        "ops":
            "cross crossed diag diag_embed diagflat diagonal_copy linalg_cross power_table trace tril tril_indices triu "
            "triu_indices vander",
    },
    "conv.affine_grid": {
        "numbagrad":
            "affine_grid_generator",
        "numbagrad.nn.functional":
            "affine_grid",
        "ops":
            "affine_back affine_grid affine_grid_generator affine_places pixels_mapped",
    },
    "conv.antialias": {
        "ops":
            "map_bytes map_rows_columns unmap_rows_columns",
    },
    "conv.bag_rows": {
    },
    "conv.column_product": {
    },
    "conv.columns": {
    },
    "conv.conv": {
        "numbagrad":
            "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
        "numbagrad.nn.functional":
            "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
        "ops":
            "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
    },
    "conv.convolve": {
        "ops":
            "channel_sum convolve_input convolve_output convolve_weight",
    },
    "conv.embedding_bag": {
        "numbagrad.nn.functional":
            "embedding_bag",
        "ops":
            "add_bags bag_maxima bag_sums embedding_bag layout",
    },
    "conv.former": {
        "numbagrad":
            "conv_tbc",
        "numbagrad.nn.functional":
            "conv_tbc upsample upsample_bilinear upsample_nearest",
        "ops":
            "_tbc _tbc_back _tbc_weight conv_tbc upsample upsample_bilinear upsample_nearest",
    },
    "conv.fractional_pool": {
        "numbagrad.nn.functional":
            "fractional_max_pool2d fractional_max_pool3d",
        "ops":
            "drawn_maxima fractional_max_pool2d fractional_max_pool3d",
    },
    "conv.grid_blocks": {
    },
    "conv.grid_kernels": {
    },
    "conv.grid_sample": {
        "numbagrad":
            "grid_sampler grid_sampler_2d grid_sampler_3d",
        "numbagrad.nn.functional":
            "grid_sample",
        "ops":
            "grid_back grid_sample grid_sampler grid_sampler_2d grid_sampler_3d grid_second grid_values",
    },
    "conv.interpolate": {
        "numbagrad":
            "constant_pad_nd",
        "numbagrad.nn.functional":
            "interpolate pad",
        "ops":
            "constant_pad_nd interpolate pad",
    },
    "conv.kernels": {
    },
    "conv.lp_pool": {
        "numbagrad.nn.functional":
            "lp_pool1d lp_pool2d lp_pool3d",
        "ops":
            "lp_pool1d lp_pool2d lp_pool3d",
    },
    "conv.pixel_gradients": {
    },
    "conv.pixels": {
    },
    "conv.pool": {
        "numbagrad":
            "adaptive_avg_pool1d avg_pool1d max_pool1d max_pool2d max_pool3d",
        "numbagrad.nn.functional":
            "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d "
            "adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d",
        "ops":
            "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d "
            "adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool3d from_places max_pool1d max_pool2d max_pool3d max_windows "
            "mean_windows spread_windows to_places",
    },
    "conv.pool_kernels": {
    },
    "conv.tiles": {
    },
    "conv.unfold_fold": {
        "numbagrad.nn.functional":
            "fold im2col unfold",
        "ops":
            "fold from_columns im2col to_columns",
    },
    "conv.unpool": {
        "numbagrad.nn.functional":
            "max_unpool1d max_unpool2d max_unpool3d",
        "ops":
            "max_unpool1d max_unpool2d max_unpool3d unpooled",
    },
    "conv.weight_tiles": {
    },
    "conv.weighted_taps": {
        "ops":
            "map_axes unmap_axes",
    },
    "conv.with_indices": {
        "numbagrad.nn.functional":
            "adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices "
            "fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices max_pool1d_with_indices "
            "max_pool2d_with_indices max_pool3d_with_indices",
        "ops":
            "adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices "
            "fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices max_pool1d_with_indices "
            "max_pool2d_with_indices max_pool3d_with_indices",
    },
    "reduce.extremum": {
        "Tensor":
            "aminmax argmax argmin max min",
        "numbagrad":
            "aminmax argmax argmin max min",
        "ops":
            "aminmax aminmax_fused argmax argmin extremum max min pick_along place_along place_of",
    },
    "reduce.gumbel": {
        "numbagrad.nn.functional":
            "gumbel_softmax",
        "ops":
            "gumbel_softmax",
    },
    "reduce.linear_recurrence": {
        "ops":
            "linear_recurrence product_gradient",
    },
    "reduce.logsumexp": {
        "Tensor":
            "logsumexp",
        "numbagrad":
            "logsumexp",
        "numbagrad.special":
            "logsumexp",
        "ops":
            "logsumexp logsumexp_fused",
    },
    "reduce.median": {
        "Tensor":
            "median mode nanmedian",
        "numbagrad":
            "median mode nanmedian",
        "ops":
            "_full_median _mode_picked _most_frequent _picked _positions median mode nanmedian",
    },
    "reduce.norms": {
        "Tensor":
            "norm",
        "numbagrad":
            "norm",
        "numbagrad.linalg":
            "vector_norm",
        "ops":
            "norm norm_inf norm_low norm_one norm_p norm_two norm_zero vector_norm",
    },
    "reduce.row_folds": {
    },
    "reduce.running_extrema": {
        "Tensor":
            "cummax cummin",
        "numbagrad":
            "cummax cummin",
        "ops":
            "add_at cummax cummin cumulative_extremum take_at",
    },
    "reduce.scan": {
        "Tensor":
            "cumprod cumprod_ cumsum cumsum_ diff logcumsumexp",
        "numbagrad":
            "cumprod cumsum diff logcumsumexp",
        "ops":
            "cumprod cumprod_fused cumsum cumsum_fused decayed_sum diff logcumsumexp logcumsumexp_fused",
    },
    "reduce.softmax": {
        "Tensor":
            "log_softmax softmax",
        "numbagrad":
            "log_softmax softmax",
        "numbagrad.nn.functional":
            "log_softmax softmax softmin",
        "numbagrad.special":
            "log_softmax softmax",
        "ops":
            "log_softmax log_softmax_backward log_softmax_forward softmax softmax_backward softmax_forward softmin",
    },
    "reduce.sums": {
        "Tensor":
            "all amax amin any count_nonzero mean nanmean nansum prod sum",
        "numbagrad":
            "all amax amin any count_nonzero mean nanmean nansum prod sum",
        "ops":
            "all amax amin any count_nonzero extremum_gradient max_all mean min_all nanmean nansum prod product_slope sum",
    },
    "reduce.variance": {
        "Tensor":
            "std var",
        "numbagrad":
            "std std_mean var var_mean",
        "ops":
            "std std_mean var var_mean variance",
    },
    "reduce.weight_norm": {
        "numbagrad":
            "_weight_norm norm_except_dim",
        "ops":
            "_weight_norm norm_except_dim rows_of_lengths",
    },
    "linalg.cholesky": {
        "Tensor":
            "cholesky_inverse cholesky_solve",
        "numbagrad":
            "cholesky_inverse cholesky_solve",
        "numbagrad.linalg":
            "cholesky solve_triangular",
        "ops":
            "cholesky cholesky_inverse cholesky_inverse_alone cholesky_solve cholesky_solve_alike linalg_cholesky "
            "linalg_solve_triangular solve_triangular",
    },
    "linalg.common": {
    },
    "linalg.composed": {
        "Tensor":
            "cholesky det qr slogdet svd",
        "numbagrad":
            "cholesky det qr slogdet svd",
        "numbagrad.linalg":
            "diagonal matmul tensorinv tensorsolve vander",
        "ops":
            "tensorinv tensorsolve",
    },
    "linalg.decompositions": {
        "numbagrad.linalg":
            "LinAlgError eigh eigvalsh qr svd svdvals",
        "ops":
            "eigh eigvalsh hermitian_values linalg_eigh linalg_qr linalg_svd qr singular_values_alone svd svdvals",
    },
    "linalg.determinants": {
        "Tensor":
            "logdet",
        "numbagrad":
            "logdet",
        "numbagrad.linalg":
            "det slogdet",
        "ops":
            "cofactors cofactors_gradient det linalg_det linalg_slogdet logdet slogdet",
    },
    "linalg.eigen": {
        "numbagrad.linalg":
            "eig eigvals",
        "ops":
            "eig eigvals general_values linalg_eig",
    },
    "linalg.elimination_blocks": {
    },
    "linalg.former": {
        "Tensor":
            "eig lstsq lu lu_solve solve symeig triangular_solve",
        "numbagrad":
            "eig lstsq lu lu_solve matrix_rank solve symeig triangular_solve",
    },
    "linalg.householder": {
        "Tensor":
            "geqrf orgqr",
        "numbagrad":
            "geqrf orgqr",
        "numbagrad.linalg":
            "householder_product",
        "ops":
            "geqrf householder_product orgqr product reflections",
    },
    "linalg.householder_blocks": {
    },
    "linalg.householder_kernels": {
    },
    "linalg.informed": {
        "numbagrad.linalg":
            "cholesky_ex inv_ex solve_ex",
        "ops":
            "cholesky_ex inv_ex linalg_cholesky_ex solve_ex",
    },
    "linalg.kernels": {
    },
    "linalg.ldl": {
        "numbagrad.linalg":
            "ldl_factor ldl_factor_ex ldl_solve",
        "ops":
            "ldl_factor ldl_factor_ex ldl_solve linalg_ldl_factor_ex linalg_ldl_solve",
    },
    "linalg.lu": {
        "numbagrad":
            "lu_unpack",
        "numbagrad.linalg":
            "lu lu_factor lu_factor_ex lu_solve",
        "ops":
            "linalg_lu linalg_lu_factor_ex linalg_lu_permutation linalg_lu_solve lu lu_factor lu_factor_ex lu_solve "
            "lu_unpack lu_unpack_triangles",
    },
    "linalg.lu_kernels": {
    },
    "linalg.matrix_norms": {
        "numbagrad.linalg":
            "cond matrix_norm norm",
        "ops":
            "cond linalg_norm matrix_norm quotient_of_ends",
    },
    "linalg.ormqr": {
        "Tensor":
            "ormqr",
        "numbagrad":
            "ormqr",
        "ops":
            "applied ormqr",
    },
    "linalg.powers": {
        "Tensor":
            "matrix_exp matrix_power",
        "numbagrad":
            "matrix_exp matrix_power",
        "numbagrad.linalg":
            "matrix_exp matrix_power",
        "ops":
            "matrix_exp matrix_power",
    },
    "linalg.pseudo_inverse": {
        "Tensor":
            "pinverse",
        "numbagrad":
            "pinverse",
        "numbagrad.linalg":
            "lstsq matrix_rank pinv",
        "ops":
            "linalg_pinv lstsq matrix_rank pinv pinverse rank_of",
    },
    "linalg.solve": {
        "Tensor":
            "inverse",
        "numbagrad":
            "inverse",
        "numbagrad.linalg":
            "inv solve",
        "ops":
            "elimination inv inverse linalg_inv linalg_solve solve",
    },
    "fft.kernels": {
    },
    "fft.public": {
        "numbagrad.fft":
            "fft fft2 fftfreq fftn fftshift hfft hfft2 hfftn ifft ifft2 ifftn ifftshift ihfft ihfft2 ihfftn irfft irfft2 "
            "irfftn rfft rfft2 rfftfreq rfftn",
        "ops":
            "fft fft2 fftn fftshift hfft hfft2 hfftn ifft ifft2 ifftn ifftshift ihfft ihfft2 ihfftn irfft irfft2 irfftn "
            "rfft rfft2 rfftn",
    },
    "fft.short_time": {
        "Tensor":
            "istft stft",
        "numbagrad":
            "istft stft",
        "ops":
            "istft overlapped stft",
    },
    "fft.tables": {
    },
    "fft.transforms": {
        "ops":
            "fft_c2c fft_c2r fft_r2c",
    },
    "recurrent.cells": {
        "ops":
            "recurrent recurrent_gradient",
    },
    "recurrent.kernels": {
    },
    "recurrent.layers": {
        "numbagrad":
            "gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell",
        "ops":
            "gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell",
    },
    "norm.batch_norm": {
        "numbagrad.nn.functional":
            "batch_norm",
        "ops":
            "batch_norm batch_norm_fused",
    },
    "norm.group_norm": {
        "numbagrad":
            "group_norm",
        "numbagrad.nn.functional":
            "group_norm",
        "ops":
            "group_norm group_norm_fused",
    },
    "norm.instance_norm": {
        "numbagrad.nn.functional":
            "instance_norm",
        "ops":
            "instance_norm",
    },
    "norm.layer_norm": {
        "numbagrad":
            "layer_norm rms_norm",
        "numbagrad.nn.functional":
            "layer_norm rms_norm",
        "ops":
            "layer_norm layer_norm_fused rms_norm",
    },
    "loss.cross_entropy": {
        "numbagrad.nn.functional":
            "cross_entropy nll_loss",
        "ops":
            "cross_entropy cross_entropy_fused nll_fused nll_loss nll_spread",
    },
    "loss.cross_entropy_kernels": {
    },
    "loss.ctc": {
        "numbagrad":
            "ctc_loss",
        "numbagrad.nn.functional":
            "ctc_loss",
        "ops":
            "ctc_back ctc_loss ctc_values",
    },
    "loss.distance": {
        "numbagrad":
            "cosine_similarity pairwise_distance",
        "numbagrad.nn.functional":
            "cosine_embedding_loss cosine_similarity local_response_norm multilabel_soft_margin_loss normalize "
            "pairwise_distance triplet_margin_loss triplet_margin_with_distance_loss",
        "ops":
            "channel_sums cosine_embedding_loss cosine_similarity local_response_norm multilabel_soft_margin_loss normalize"
            " pairwise_distance triplet_margin_loss triplet_margin_with_distance_loss",
    },
    "loss.linear_cross_entropy": {
        "numbagrad.nn.functional":
            "linear_cross_entropy",
        "ops":
            "linear_cross_entropy",
    },
    "loss.losses": {
        "numbagrad.nn.functional":
            "binary_cross_entropy binary_cross_entropy_with_logits gaussian_nll_loss hinge_embedding_loss huber_loss kl_div"
            " l1_loss margin_ranking_loss mse_loss poisson_nll_loss smooth_l1_loss soft_margin_loss",
        "ops":
            "at_least binary_cross_entropy binary_cross_entropy_with_logits gaussian_nll_loss hinge_embedding_loss "
            "huber_loss kl_div l1_loss margin_ranking_loss mse_loss poisson_nll_loss smooth_l1_loss soft_margin_loss",
    },
    "loss.margins": {
        "numbagrad.nn.functional":
            "multi_margin_loss multilabel_margin_loss",
        "ops":
            "label_gradient label_sums margin_gradient margin_sums multi_margin_loss multilabel_margin_loss",
    },
    "loss.pointwise": {
        "ops":
            "bce_with_logits_full bce_with_logits_full_reduced bce_with_logits_pointwise bce_with_logits_pointwise_reduced "
            "bce_with_logits_weighted bce_with_logits_weighted_reduced binary_cross_entropy_pointwise "
            "binary_cross_entropy_pointwise_reduced binary_cross_entropy_weighted binary_cross_entropy_weighted_reduced "
            "hinge_embedding_loss_pointwise hinge_embedding_loss_pointwise_reduced huber_loss_pointwise "
            "huber_loss_pointwise_reduced kl_div_log_pointwise kl_div_log_pointwise_reduced kl_div_pointwise "
            "kl_div_pointwise_reduced l1_loss_pointwise l1_loss_pointwise_reduced margin_ranking_loss_pointwise "
            "mse_loss_pointwise mse_loss_pointwise_reduced smooth_l1_loss_pointwise smooth_l1_loss_pointwise_reduced "
            "soft_margin_loss_pointwise soft_margin_loss_pointwise_reduced",
    },
    "loss.reductions": {
    },
    "attention.attention": {
        "numbagrad.nn.functional":
            "scaled_dot_product_attention",
        "ops":
            "attention attention_gradient scaled_dot_product_attention",
    },
    "attention.kernels": {
    },
    "attention.multihead": {
        "numbagrad.nn.functional":
            "multi_head_attention_forward",
        "ops":
            "multi_head_attention_forward",
    },
    "statistics.covariance": {
        "Tensor":
            "corrcoef cov",
        "numbagrad":
            "corrcoef cov",
        "ops":
            "corrcoef cov",
    },
    "statistics.distances": {
        "Tensor":
            "dist renorm renorm_",
        "numbagrad":
            "cdist dist renorm",
        "numbagrad.linalg":
            "vecdot",
        "ops":
            "cdist dist euclidean renorm vecdot",
    },
    "statistics.integrals": {
        "numbagrad":
            "cumulative_trapezoid gradient trapezoid trapz",
        "ops":
            "cumulative_trapezoid gradient slope_gradient slopes trapezoid",
    },
    "statistics.pair_distances": {
        "numbagrad":
            "pdist",
        "numbagrad.nn.functional":
            "pdist",
        "ops":
            "pair_norms pair_slopes pdist",
    },
    "statistics.quantile": {
        "Tensor":
            "nanquantile quantile",
        "numbagrad":
            "nanquantile quantile",
        "ops":
            "nanquantile quantile quantile_gradient quantile_parts quantiles",
    },
    "sparse.arithmetic": {
    },
    "sparse.making": {
        "Tensor":
            "coalesce dense_dim indices is_coalesced sparse_dim sparse_mask to_dense to_sparse to_sparse_coo values",
        "numbagrad":
            "sparse_coo_tensor",
    },
    "sparse.products": {
        "ops":
            "products_of_rows sparse_times_dense",
    },
    "sparse.rows": {
        "Tensor":
            "smm sparse_resize_ sparse_resize_and_clear_ sspaddmm",
        "numbagrad":
            "dsmm hsmm hspmm smm sspaddmm",
    },
    "sparse.tensor": {
    },
}
