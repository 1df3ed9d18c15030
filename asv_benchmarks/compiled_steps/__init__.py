"""Training steps for ``peers.py --compiled``: ``ng.compile`` against PyTorch, ``torch.compile`` and ``jax.jit``.

``specs`` has the sizes, initial parameters and data; ``models`` the steps in PyTorch's API (run by numbagrad and by
PyTorch), ``jax_steps`` the same in ``jax.numpy``; ``worker`` is one library's process, ``compare`` asks them in turn and
prints the table; ``machine`` measures what the machine can do at best.
"""
