"""Programs that must come out compiled as they do eagerly. One takes ``C``, which compiles or does nothing, changes something
between calls, or leaves something changed, and returns what it saw."""

import numbagrad as ng


def noted(programs):
    """A decorator that puts a program into a table, by its name."""
    def program(f):
        programs[f.__name__] = f
        return f
    return program


def counted(programs):
    """The same for programs that return the step too, with the number of captures that it may take."""
    def program(captures=2):
        def note(f):
            programs[f.__name__] = f, captures
            return f
        return note
    return program


def both(program):
    """What a program saw compiled, and eagerly, as text."""
    eager = program(lambda f: f)
    return str(program(ng.compile)), str(eager)


def one():
    return ng.ones(1)


def changes(C, f, *between):
    """Results of ``f`` before and after each change."""
    f, out = C(f), []
    for change in (lambda: None, lambda: None, *between, lambda: None):
        change()
        out.append(f(one()).item())
    return out


def calls(f, *more, n=8):
    """Results of calls with the numbers that ``more`` makes of 0, 1, 2 ..."""
    out = []
    for k in range(n):
        y = f(ng.full((2,), 1.0 + k), *[m(k) for m in more])
        out.append([round(v, 5) for v in y.tolist()])
    return out


def same_as_eager(program, captures):
    """A program, given what compiles its step, shows the same in eager code and takes at most so many variants."""
    wanted, _ = program(lambda f: f)
    found, step = program(ng.compile)
    assert str(found) == str(wanted)
    assert len(step.variants) <= captures
