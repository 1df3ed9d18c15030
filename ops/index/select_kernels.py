"""The order that PyTorch leaves equal elements in: selections and sorts of the C++ library, step by step.

``topk``, ``kthvalue`` and ``mode`` name one of several equal elements. Which one follows from the algorithm, so these are
libstdc++'s ``nth_element``, ``partial_sort`` and ``sort``, and PyTorch's quick select. They work on positions ``q`` of the
elements ``x``; ``down`` is 1 for descending order with NaN first, 0 for ascending with NaN last, 2 for a plain ``<``.
"""

from __future__ import annotations

from numbagrad.extend import inline, load
from numbagrad.kernel.jit import kernel

SMALL = 16  # elements that a sort leaves to insertion
STACK = 3 * 130  # places for the parts that wait: fewer than twice the bits of a size


@inline(fast=())
def before(x, i, j, down):
    """Whether element i of x comes before element j."""
    a, b = load(x[i]), load(x[j])
    if down == 0:
        return a < b or (a == a and b != b)
    if down == 1:
        return a > b or (a != a and b == b)
    return a < b


@inline(fast=())
def swap(q, i, j):
    """Exchange q[i] and q[j]."""
    kept = q[i]
    q[i] = q[j]
    q[j] = kept


@inline(fast=())
def insert(x, q, first, i, down):
    """Move the element of q at ``i`` to its place among those before it, which are in the order of x."""
    v = q[i]
    while i > first and before(x, v, q[i - 1], down):
        q[i] = q[i - 1]
        i -= 1
    q[i] = v


@inline(fast=())
def insertion_sort(x, q, first, last, down):
    """Sort q[first:last] by x, element after element."""
    for i in range(first + 1, last):
        v = q[i]
        if before(x, v, q[first], down):
            for j in range(i, first, -1):
                q[j] = q[j - 1]
            q[first] = v
        else:
            insert(x, q, first, i, down)


@inline(fast=())
def sift(x, q, first, hole, n, v, down):
    """Put ``v`` into the heap of ``n`` elements of q, in the order of x, at ``hole``, whose value is free."""
    top = hole
    child = hole
    while child < (n - 1) // 2:
        child = 2 * (child + 1)
        if before(x, q[first + child], q[first + child - 1], down):
            child -= 1
        q[first + hole] = q[first + child]
        hole = child
    if n % 2 == 0 and child == (n - 2) // 2 and n > 1:
        child = 2 * (child + 1)
        q[first + hole] = q[first + child - 1]
        hole = child - 1
    while hole > top and before(x, q[first + (hole - 1) // 2], v, down):
        q[first + hole] = q[first + (hole - 1) // 2]
        hole = (hole - 1) // 2
    q[first + hole] = v


@inline(fast=())
def heap_select(x, q, first, middle, last, down):
    """The elements of q that come first in the order of x, as a heap in [first, middle)."""
    n = middle - first
    for parent in range((n - 2) // 2, -1, -1):
        sift(x, q, first, parent, n, q[first + parent], down)
    for i in range(middle, last):
        if before(x, q[i], q[first], down):
            v = q[i]
            q[i] = q[first]
            sift(x, q, first, 0, n, v, down)


@inline(fast=())
def partial_sort(x, q, first, middle, last, down):
    """The elements of q[first:last] that come first in the order of x, in order in [first, middle)."""
    heap_select(x, q, first, middle, last, down)
    for end in range(middle - 1, first, -1):
        v = q[end]
        q[end] = q[first]
        sift(x, q, first, 0, end - first, v, down)


@inline(fast=())
def partial_sort_row(x, q, base, k, n, down):
    """``partial_sort`` of the first k positions of q by x, which are base, base + 1, ... base + n - 1: what a look at the
    element of x shows not to come before the last of the heap is passed over."""
    heap_select(x, q, 0, k, k, down)
    last = load(x[q[0]])
    for i in range(base + k, base + n):
        v = load(x[i])
        if not (v <= last if down == 1 else v >= last) and before(x, i, q[0], down):
            q[i - base] = q[0]
            sift(x, q, 0, 0, k, i, down)
            last = load(x[q[0]])
    for end in range(k - 1, 0, -1):
        v = q[end]
        q[end] = q[0]
        sift(x, q, 0, 0, end, v, down)


@inline(fast=())
def partition(x, q, first, last, down):
    """Part q[first:last] by the median of three of its elements of x; returns where the second part begins."""
    a, b, c = q[first + 1], q[first + (last - first) // 2], q[last - 1]
    at = first + (last - first) // 2
    if before(x, a, b, down):
        if not before(x, b, c, down):
            at = last - 1 if before(x, a, c, down) else first + 1
    elif before(x, a, c, down):
        at = first + 1
    elif before(x, b, c, down):
        at = last - 1
    swap(q, first, at)
    pivot = q[first]
    i, j = first + 1, last
    while True:
        # The bounds hold of themselves unless NaN meets a plain <.
        while i < last - 1 and before(x, q[i], pivot, down):
            i += 1
        j -= 1
        while j > first and before(x, pivot, q[j], down):
            j -= 1
        if i >= j:
            return i
        swap(q, i, j)
        i += 1


@inline(fast=())
def depth_of(n):
    """Twice the number of bits of n but one: how deep a sort may go before it changes to heaps."""
    depth = 0
    while n > 1:
        n //= 2
        depth += 2
    return depth


@inline(fast=())
def nth_element(x, q, first, nth, last, down):
    """Part q[first:last] by x so that position nth holds what would be there in order."""
    depth = depth_of(last - first)
    while last - first > 3:
        if depth == 0:
            heap_select(x, q, first, nth + 1, last, down)
            swap(q, first, nth)
            return
        depth -= 1
        cut = partition(x, q, first, last, down)
        if cut <= nth:
            first = cut
        else:
            last = cut
    insertion_sort(x, q, first, last, down)


@inline(fast=())
def sort_range(x, q, first, last, down, stack):
    """Sort q[first:last] by x: quick sort of parts above SMALL, which wait on stack (STACK,) with their depths, then
    insertion."""
    stack[0], stack[1], stack[2] = first, last, depth_of(last - first)
    held = 1
    while held > 0:
        held -= 1
        a, b, depth = stack[3 * held], stack[3 * held + 1], stack[3 * held + 2]
        while b - a > SMALL:
            if depth == 0:
                partial_sort(x, q, a, b, b, down)
                break
            depth -= 1
            cut = partition(x, q, a, b, down)
            stack[3 * held], stack[3 * held + 1], stack[3 * held + 2] = cut, b, depth
            held += 1
            b = cut
    insertion_sort(x, q, first, min(last, first + SMALL), down)
    for i in range(first + SMALL, last):
        insert(x, q, first, i, down)


@inline(fast=())
def quick_select(x, q, k, n):
    """PyTorch's selection of the k-th smallest of x in q (n,)."""
    left, right = 0, n - 1
    while right > left:
        if right == left + 1:
            if before(x, q[left], q[right], 1):
                swap(q, left, right)
            return
        swap(q, left + (right - left) // 2, left + 1)
        if before(x, q[left + 1], q[right], 1):
            swap(q, left + 1, right)
        if before(x, q[left], q[right], 1):
            swap(q, left, right)
        if before(x, q[left + 1], q[left], 1):
            swap(q, left + 1, left)
        i, j, pivot = left + 1, right, q[left]
        while True:
            i += 1
            while before(x, pivot, q[i], 1):
                i += 1
            j -= 1
            while before(x, q[j], pivot, 1):
                j -= 1
            if j < i:
                break
            swap(q, i, j)
        swap(q, left, j)
        if j <= k:
            left = i
        if j >= k:
            right = j - 1


@kernel(fast=())
def kth_rows(x: "*T", q: "*i8", out: "*i8", n: int, k: int, start: int, stop: int):
    """Position of the k-th smallest (k from 0) of each row of x (rows, n), into out (rows,); q (n,) is scratch; both are
    int64."""
    for row in range(start, stop):
        for i in range(n):
            q[i] = row * n + i
        quick_select(x, q, k, n)
        out[row] = q[k] - row * n


@kernel(fast=())
def first_rows(x: "*T", q: "*i8", stack: "*i8", out: "*i8", n: int, k: int, down: int, in_order: int, start: int, stop: int):
    """Positions of the k first elements of each row of x (rows, n), into out (rows, k); q (n,) and stack (STACK,) are
    scratch; all three are int64."""
    for row in range(start, stop):
        for i in range(n):
            q[i] = row * n + i
        if k * 64 <= n:
            partial_sort_row(x, q, row * n, k, n, down)
        else:
            nth_element(x, q, 0, k - 1, n, down)
            if in_order and k > 1:
                sort_range(x, q, 0, k - 1, down, stack)
        for i in range(k):
            out[row * k + i] = q[i] - row * n


@kernel(fast=())
def short_rows(x: "*T", out: "*i8", n: int, down: int, start: int, stop: int):
    """Positions of the elements of each row of x (rows, n) in order, equal ones as they come, into int64 out (rows, n)."""
    for row in range(start, stop):
        base = row * n
        for i in range(base, base + n):
            out[i] = i
        insertion_sort(x, out, base, base + n, down)
        for i in range(base, base + n):
            out[i] -= base
