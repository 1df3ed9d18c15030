"""What packages ask of PyTorch's compiler, under the name of PyTorch's file."""


def is_compile_supported(device_type):
    """False: functions that would be compiled on their own stay as they are; ``compile`` compiles steps."""
    return False
