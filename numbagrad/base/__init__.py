"""Facts that need neither kernels nor tensors: dtypes, devices, modes, shapes, kinds of arguments."""
