"""The tables that files of rules fill: by the names of ops and of functions of ops."""

BATCH_RULES: dict = {}      # op -> rule of a batch
BATCH_FUNCTIONS: dict = {}  # function whose ops work by plans -> rule of a batch
DUAL_RULES: dict = {}       # op -> rule of dual numbers
# Ops whose arguments say what only their function knows: that is transformed as a whole.
BATCH_WHOLE = {"taken", "placed", "piled", "number_at", "reduced_at", "turned", "collect", "put_at", "spread", "chosen",
               "returned", "taken_by_mask", "scattered_by_mask", "_full_median", "_picked", "_mode_picked"}
DUAL_WHOLE = {"turned"}     # (``rot90`` changes its result in place)


def adder(table):
    """A decorator ``rule(*names)`` that enters a function into a table."""
    def rule(*names):
        def declare(fn):
            table.update(dict.fromkeys(names, fn))
            return fn
        return declare
    return rule
