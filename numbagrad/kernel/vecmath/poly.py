"""Polynomials in Horner form: ``polyN(x, c)`` is ``c[0] + c[1] x + ... + c[N] x^N``.

One function per degree: a loop over the coefficients would be a loop inside the loop that is to be vectorised.
"""
import numpy as np


def f4(*coefficients):
    """The coefficients as float32 scalars, so that float32 arithmetic stays float32."""
    return tuple(np.float32(c) for c in coefficients)


def f8(*coefficients):
    """The coefficients as float64 scalars."""
    return tuple(np.float64(c) for c in coefficients)


def poly2(x, c):
    return (c[2] * x + c[1]) * x + c[0]


def poly3(x, c):
    return ((c[3] * x + c[2]) * x + c[1]) * x + c[0]


def poly4(x, c):
    return (((c[4] * x + c[3]) * x + c[2]) * x + c[1]) * x + c[0]


def poly5(x, c):
    return ((((c[5] * x + c[4]) * x + c[3]) * x + c[2]) * x + c[1]) * x + c[0]


def poly6(x, c):
    return (((((c[6] * x + c[5]) * x + c[4]) * x + c[3]) * x + c[2]) * x + c[1]) * x + c[0]


def poly7(x, c):
    return ((((((c[7] * x + c[6]) * x + c[5]) * x + c[4]) * x + c[3]) * x + c[2]) * x + c[1]) * x + c[0]


def poly8(x, c):
    y = (((((c[8] * x + c[7]) * x + c[6]) * x + c[5]) * x + c[4]) * x + c[3]) * x + c[2]
    return (y * x + c[1]) * x + c[0]


def poly9(x, c):
    y = (((((c[9] * x + c[8]) * x + c[7]) * x + c[6]) * x + c[5]) * x + c[4]) * x + c[3]
    return ((y * x + c[2]) * x + c[1]) * x + c[0]


def poly10(x, c):
    y = (((((c[10] * x + c[9]) * x + c[8]) * x + c[7]) * x + c[6]) * x + c[5]) * x + c[4]
    return (((y * x + c[3]) * x + c[2]) * x + c[1]) * x + c[0]


def poly11(x, c):
    y = (((((c[11] * x + c[10]) * x + c[9]) * x + c[8]) * x + c[7]) * x + c[6]) * x + c[5]
    return ((((y * x + c[4]) * x + c[3]) * x + c[2]) * x + c[1]) * x + c[0]


def pair11(x, c):
    """``poly11`` as two sums in x^2 beside one another, where one chain of so many steps takes longer than the steps."""
    y = x * x
    odd = ((((c[11] * y + c[9]) * y + c[7]) * y + c[5]) * y + c[3]) * y + c[1]
    return (((((c[10] * y + c[8]) * y + c[6]) * y + c[4]) * y + c[2]) * y + c[0]) + odd * x


def poly12(x, c):
    y = (((((c[12] * x + c[11]) * x + c[10]) * x + c[9]) * x + c[8]) * x + c[7]) * x + c[6]
    return (((((y * x + c[5]) * x + c[4]) * x + c[3]) * x + c[2]) * x + c[1]) * x + c[0]
