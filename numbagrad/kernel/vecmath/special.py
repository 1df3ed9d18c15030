"""erf, erfc, erfinv, lgamma, digamma and trigamma."""
import math

import numpy as np

from .exponential import EXP_F8, LN2_HI_F8, LN2_LO_F8, LOG2E_F8, ROUND_BITS_F8, ROUND_F8, exp_normal_f4, exp_wide, scale_f8
from .logarithm import log1p_wide, log_f8
from .poly import f4, f8, pair11, poly5, poly6, poly7, poly10, poly11, poly12
from .power import cut
from .rounding import round_f8
from .trigonometric import COS_F8, SIN_F8, tan_near_f8

F, D, I, J = np.float32, np.float64, np.int32, np.int64  # noqa: E741

INF_F4, NAN_F4 = F(np.inf), F(np.nan)
INF_F8, NAN_F8 = D(np.inf), D(np.nan)
PI = D(3.141592653589793)

# erf(x) / x - 1 on |x| <= 1, in x^2
ERF_F4 = f4(0.12837917, -0.37612626, 0.1128358, -0.026853489, 0.0051875887, -0.00080029905, 7.8284174e-05)
ERF_F8 = f8(
    0.1283791670955126, -0.37612638903184087, 0.11283791670970326, -0.02686617064785862, 0.005223977650849509,
    -0.0008548328424394902, 0.00012055382032817135, -1.492678092508974e-05, 1.6479458044236197e-06,
    -1.6540450114206556e-07, 1.5903826830042e-08, -1.6055013310826516e-09, 1.3675662904474084e-10,
)
# -log(1 - erf(x)) on [0.95, 4]
ERF_LOG_F4 = f4(0.0002459759, 1.1274698, 0.63752574, 0.10363273, -0.022084035, 0.0030076515, -0.00019233834)
# (1 + 2 x) erfc(x) exp(x^2) in (x - 4) / (x + 4), x up to 10.3 and 28
ERFC_WIDE = f8(
    1.2329951188225032, -0.139621131599788, 0.015379615504348267, 0.06809785997375944, -0.10103743905808259,
    0.09372142517866018, -0.06635768511744178, 0.03721734031994757, -0.016019131691107972, 0.005061207947692077,
    -0.0011212737365918406, -0.0006374964299643396,
)
ERFC_LOW_F8 = f8(
    1.2329951186255526, -0.13962111684056247, 0.015379652102611628, 0.06809705425469248, -0.10103906603601534,
    0.093732834998075, -0.06633036581672835, 0.03716751554553991, -0.01619773401713186, 0.005031969882102129,
    -0.0007577735360043302, -0.000199256085182816,
)
ERFC_HIGH_F8 = f8(
    0.00015062277265797799, -2.4401480598389572e-05, -1.1225576758127513e-05, 5.714724278092705e-06,
    3.0177140393078284e-07, -8.314917911897888e-07, 6.31458983895274e-08, 1.1295092995739385e-07,
    -8.466635316167574e-09, -1.2997572542610415e-08, -1.5089409662954385e-09,
)
# erfinv(x) / x in w = -log(1 - x^2): w up to 5 in w - 2.5, from there on in sqrt(w) - 3.125; for float64 (less 1 in the
# first) w up to 6.25, 16 and 36.2 in w - 3.125, sqrt(w) - 3.25 and sqrt(w) - 5
ERFINV_NEAR_WIDE = f8(
    1.5014093516926341, 0.24664027578485093, -0.00417732463720671, -0.0012527048744452164, 0.00021826355878837414,
    -4.998761876343603e-06, -3.4260127503897476e-06, 4.796996085184764e-07, 1.645733841825421e-08,
    -1.1023332960561417e-08, 4.370241852716635e-10, 1.3286581120602434e-10,
)
ERFINV_FAR_WIDE = f8(
    2.958320149018724, 1.0037187025125724, 0.0070480001931344195, -0.0053013177894796985, 0.00379265849962638,
    -0.0025173261336143026, 0.0012704186203195968, -0.00033791994108310695, -0.00011384403145336157,
    0.00015276247666140785, -3.1135463729430126e-05, -1.2940169397325802e-05,
)
ERFINV_NEAR_LOW_F8 = f8(
    0.6536545626831027, 0.24015818242558826, -0.006033670871427685, -0.0007407025341538971, 0.00018673420802406144,
    -1.3882523395918057e-05, -1.3654691841879322e-06, 4.234788192152386e-07, -2.907038294676123e-08,
    -4.112662064242066e-09, 1.0512184711109164e-09, -5.414235603810501e-11,
)
ERFINV_NEAR_HIGH_F8 = f8(
    -1.2976977963199155e-11, 2.630345900033739e-12, -8.116660185473943e-14, -3.998831126646409e-14,
    6.594298180191034e-15, -4.3028584617714735e-17, -1.3001001394019556e-16, 1.5771205455740017e-17,
    1.1432148650951377e-18, -3.58008399247841e-19, -9.876662363544317e-22, 3.3837749621133907e-21,
)
ERFINV_MID_LOW_F8 = f8(
    3.0838856104922203, 1.0052589676941652, 0.005370914553607374, -0.00375120850790881, 0.002491442095570979,
    -0.0016882755493572012, 0.0009532893883274497, -0.0003550375838637233, 2.4031034701248488e-05,
    6.828518646640239e-05, -4.73178423244871e-05, 1.2474274372619598e-05,
)
ERFINV_MID_HIGH_F8 = f8(
    2.9222719106428806e-06, -4.012030503995101e-06, 1.5048207896112909e-06, 1.647890098862643e-08,
    -2.7716448416033036e-07, 9.145802949301646e-08, 3.0066616790958842e-09,
)
ERFINV_FAR_LOW_F8 = f8(
    4.849906401408584, 1.0103004648645448, -0.00013871931838692667, -0.00021503011980348225, 7.599527821536974e-05,
    -1.9681771006846018e-05, 4.526051637445253e-06, -9.930276696277363e-07, 2.2905635265464968e-07,
    -6.7561281813071e-08, 2.901048336483282e-08, -1.5246510078144166e-08,
)
ERFINV_FAR_HIGH_F8 = f8(
    7.832719605859165e-09, -3.47953634135794e-09, 1.3068387740750996e-09, -4.3338220640376904e-10,
    7.356545132924999e-11, 4.1991303719882645e-11, -2.1110734044714103e-11,
)
# B_2k / (2k), k = 1 to 7: the asymptotic series of digamma in 1 / x^2
HALF_LOG_2PI = D(0.9189385332046728)
LGAMMA_WIDE = f8(1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
TRIGAMMA_F8 = f8(1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
DIGAMMA_F8 = f8(1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def erf_f4(x):
    """Error function."""
    a = abs(x)
    near = a + a * poly6(a * a, ERF_F4)
    b = F(4) if a > F(4) else a
    far = F(1) - exp_normal_f4(-poly6(b, ERF_LOG_F4))
    return F(math.copysign(near if a < F(1) else far, x))


def erfc_f4(x):
    """1 - erf(x) without cancellation for large x."""
    a = D(abs(x))
    a = D(10.25) if a > D(10.25) else a
    b, c = a + D(4), D(1) + D(2) * a
    q = D(1) / (b * c)  # one division instead of two
    t = (a - D(4)) * (c * q)
    y = exp_wide(-a * a) * pair11(t, ERFC_WIDE) * (b * q)
    return F(D(2) - y if x < F(0) else y)


def erfc_core_f8(a):
    """erfc(a) for 0 <= a <= 28: exp(-a^2), a^2 in two words, times a polynomial / (1 + 2 a)."""
    t = (a - D(4)) / (a + D(4))
    t3 = t * t * t
    t6 = t3 * t3
    d = D(1) + D(2) * a
    q = (poly11(t, ERFC_LOW_F8) + t6 * t6 * poly10(t, ERFC_HIGH_F8)) / d
    # Takes back most of what d lost by rounding: 1 / d is about 0.88 q.
    q = q - q * q * (D(0.88) * (D(2) * a - (d - D(1))))
    x = -a * a
    ah = cut(a)
    al = a - ah
    xl = ((x + ah * ah) + D(2) * ah * al) + al * al
    t = x * LOG2E_F8 + ROUND_F8
    k = t - ROUND_F8
    r = ((x - k * LN2_HI_F8) - k * LN2_LO_F8) - xl
    return scale_f8(q + q * (r + r * r * poly10(r, EXP_F8)), D(t).view(J) - ROUND_BITS_F8)


def erf_f8(x):
    """Error function."""
    a = abs(x)
    near = a + a * poly12(a * a, ERF_F8)
    far = D(1) - erfc_core_f8(D(6) if a > D(6) else a)
    return D(math.copysign(near if a < D(1) else far, x))


def erfc_f8(x):
    """1 - erf(x) without cancellation for large x."""
    a = abs(x)
    near = D(1) - (x + x * poly12(x * x, ERF_F8))
    y = erfc_core_f8(D(27.5) if a > D(27.5) else a)
    return near if a < D(0.5) else (D(2) - y if x < D(0) else y)


def erfinv_f4(x):
    """Inverse of erf; infinite at 1 and -1, NaN beyond."""
    a = D(x)
    z = a * a
    w = -log1p_wide(-(z if z < D(1) else D(0)))
    near = poly11(w - D(2.5), ERFINV_NEAR_WIDE)
    far = poly11(math.sqrt(w) - D(3.125), ERFINV_FAR_WIDE)
    y = F(a * (near if w < D(5) else far))
    y = y if z < D(1) else (INF_F4 if z == D(1) else NAN_F4)
    return F(math.copysign(y, x))


def poly18_f8(x, low, high):
    x3 = x * x * x
    x6 = x3 * x3
    return poly11(x, low) + x6 * x6 * poly6(x, high)


def poly23_f8(x, low, high):
    x3 = x * x * x
    x6 = x3 * x3
    return poly11(x, low) + x6 * x6 * poly11(x, high)


def erfinv_f8(x):
    """Inverse of erf; infinite at 1 and -1, NaN beyond."""
    a = abs(x)
    b = a if a < D(1) else D(0)
    w = -log_f8((D(1) - b) * (D(1) + b))
    w = w if w > D(0) else D(0)
    s = math.sqrt(w)
    near = poly23_f8(w - D(3.125), ERFINV_NEAR_LOW_F8, ERFINV_NEAR_HIGH_F8)
    mid = poly18_f8(s - D(3.25), ERFINV_MID_LOW_F8, ERFINV_MID_HIGH_F8)
    far = poly18_f8(s - D(5), ERFINV_FAR_LOW_F8, ERFINV_FAR_HIGH_F8)
    y = x + x * near if w < D(6.25) else x * (mid if w < D(16) else far)
    edge = D(math.copysign(INF_F8 if a == D(1) else NAN_F8, x))
    return y if a < D(1) else edge


def lgamma_f8(x):
    """log |Gamma(x)|."""
    return D(math.lgamma(x))


def raised(p, y):
    """(p, y) with y moved by at most 2 and not beyond 9, p times what it left behind."""
    low, next_ = y < D(8), y < D(7)
    p = p * (y if low else D(1))
    p = p * (y + D(1) if next_ else D(1))
    return p, y + (D(1) if low else D(0)) + (D(1) if next_ else D(0))


def sine_of_turn(v):
    """|sin(pi v)|, by the sine and the cosine of half the argument."""
    r = D(0.5) * PI * abs(v - round_f8(v))
    w = r * r
    return D(2) * (r + r * w * poly6(w, SIN_F8)) * (D(1) - w * (D(0.5) - w * poly5(w, COS_F8)))


def lgamma_f4(x):
    """log |Gamma(x)|: Stirling's series from 8 on, to which a product leads; below 1/2 the reflection."""
    v = D(x)
    low = v < D(0.5)
    y = D(1) - v if low else v
    p, y = raised(*raised(D(1), y))
    p, y = raised(*raised(p, y))
    z = D(1) / (y * y)
    value = (((y - D(0.5)) * log_f8(y) - y) + HALF_LOG_2PI) + poly7(z, LGAMMA_WIDE) * (z * y)
    factor = log_f8(PI * p / sine_of_turn(v) if low else p)
    value = factor - value if low else value - factor
    value = D(0) if (v == D(1)) | (v == D(2)) else value
    return F(INF_F8 if abs(v) == INF_F8 else value)


def digamma_f8(x):
    """Derivative of log Gamma; an infinity of the sign of -x at 0, NaN at the negative integers and -inf."""
    low = x < D(0.5)
    y = D(1) - x if low else x
    total = D(0)
    for _ in range(10):  # psi(y) = psi(y + 1) - 1 / y, until the series holds
        step = y < D(10)
        total = total - (D(1) / y if step else D(0))
        y = y + (D(1) if step else D(0))
    z = D(1) / (y * y)
    value = total + (log_f8(y) - D(0.5) / y - (z * poly6(z, DIGAMMA_F8) if y < INF_F8 else D(0)))
    fraction = x - round_f8(x)
    value = value - PI / tan_near_f8(PI * fraction) if low else value
    value = value if (not low) | (fraction != D(0)) else NAN_F8
    return D(math.copysign(INF_F8, -x)) if x == D(0) else value


def left_behind(p, q, y):
    """(p, q, y) with y moved by at most 2 and not beyond 11, 1 / y added to p / q for what it left behind."""
    low = y < D(10)
    p, q = (p * y + q if low else p), (q * y if low else q)
    y = y + (D(1) if low else D(0))
    low = y < D(10)
    p, q = (p * y + q if low else p), (q * y if low else q)
    return p, q, y + (D(1) if low else D(0))


def digamma_f4(x):
    """Derivative of log Gamma; an infinity of the sign of -x at 0, NaN at the negative integers and -inf."""
    v = D(x)
    low = v < D(0.5)
    y = D(1) - v if low else v
    p, q, y = left_behind(*left_behind(D(0), D(1), y))
    p, q, y = left_behind(*left_behind(p, q, y))
    p, q, y = left_behind(p, q, y)
    z = D(1) / (y * y)
    value = log_f8(y) - D(0.5) / y - z * poly6(z, DIGAMMA_F8) - p / q
    fraction = v - round_f8(v)
    value = value - PI / tan_near_f8(PI * fraction) if low else value
    value = value if (not low) | (fraction != D(0)) else NAN_F8
    return F(math.copysign(INF_F8, -v) if v == D(0) else value)


def squares_left_behind(p, q, y):
    """(p, q, y) with y moved by at most 2 and not beyond 11, 1 / y^2 added to p / q for what it left behind."""
    low, w = y < D(10), y * y
    p, q = (p * w + q if low else p), (q * w if low else q)
    y = y + (D(1) if low else D(0))
    low, w = y < D(10), y * y
    p, q = (p * w + q if low else p), (q * w if low else q)
    return p, q, y + (D(1) if low else D(0))


def trigamma_f8(x):
    """Derivative of digamma; infinite at 0 and the negative integers, NaN at -inf."""
    low = x < D(0.5)
    y = D(1) - x if low else x
    p, q, y = squares_left_behind(*squares_left_behind(D(0), D(1), y))
    p, q, y = squares_left_behind(*squares_left_behind(p, q, y))
    p, q, y = squares_left_behind(p, q, y)
    r = D(1) / y
    z = r * r
    value = p / q + (r + (D(0.5) * z + z * r * poly6(z, TRIGAMMA_F8)))
    turn = PI / sine_of_turn(x)
    return turn * turn - value if low else value


def trigamma_f4(x):
    """Derivative of digamma; infinite at 0 and the negative integers, NaN at -inf."""
    return F(trigamma_f8(D(x)))
