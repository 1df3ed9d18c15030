"""Functions that PyTorch has written in Python: these hand their arguments to ``__torch_function__`` in another form."""

IN_PYTHON = {
    "torch.functional": """
atleast_1d atleast_1d atleast_2d atleast_2d atleast_3d atleast_3d block_diag block_diag broadcast_tensors broadcast_tensors
cartesian_prod cartesian_prod cdist cdist chain_matmul chain_matmul einsum einsum lu meshgrid meshgrid norm norm pca_lowrank
split split split stft stft svd_lowrank tensordot tensordot unique unique_consecutive unique_consecutive unravel_index
unravel_index""",
    "torch.nn.functional": """
adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool1d_with_indices adaptive_max_pool2d
adaptive_max_pool2d_with_indices adaptive_max_pool3d adaptive_max_pool3d_with_indices affine_grid alpha_dropout batch_norm
binary_cross_entropy binary_cross_entropy_with_logits celu cosine_embedding_loss cross_entropy ctc_loss dropout dropout1d
dropout2d dropout3d elu embedding embedding_bag feature_alpha_dropout fold fractional_max_pool2d
fractional_max_pool2d_with_indices fractional_max_pool3d fractional_max_pool3d_with_indices gaussian_nll_loss glu grid_sample
group_norm gumbel_softmax hardtanh hinge_embedding_loss huber_loss instance_norm interpolate kl_div l1_loss layer_norm
leaky_relu linear_cross_entropy local_response_norm log_softmax lp_pool1d lp_pool2d lp_pool3d margin_ranking_loss max_pool1d
max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool1d max_unpool2d
max_unpool3d mish mse_loss multi_head_attention_forward multi_margin_loss multilabel_margin_loss multilabel_soft_margin_loss
nll_loss normalize pad poisson_nll_loss relu relu6 rms_norm rrelu selu silu smooth_l1_loss soft_margin_loss softmax softmin
softsign tanhshrink threshold triplet_margin_loss triplet_margin_with_distance_loss unfold""",
    "torch.autograd": "grad backward",
    "torch.nn.init": "uniform_ normal_ constant_ kaiming_uniform_",
    "torch.Tensor": """
__array__ __array_wrap__ __contains__ __deepcopy__ __dlpack__ __dlpack_device__ __floordiv__ __format__ __ipow__ __len__
__pow__ __reduce_ex__ __repr__ __reversed__ __rfloordiv__ __rlshift__ __rmatmul__ __rmod__ __rpow__ __rrshift__ __rsub__
__rtruediv__ __rtruediv__ __setstate__ backward dim_order index is_shared istft lu module_load norm register_hook
register_post_accumulate_grad_hook resize resize_as share_memory_ split stft storage storage_type unique unique_consecutive""",
}
NAMES = frozenset([f"{space}.{name}" for space, names in IN_PYTHON.items() for name in names.split()])
