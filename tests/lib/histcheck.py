"""tests/lib/histcheck.py: is what clients were told, while servers died under them, a story that could have happened one thing after the other?

    history = History()
    op = history.call(client, 'pause')          # before the request leaves
    op.returns(result)                          # when the answer is there; an operation that never returns may have happened, or not, or later
    check(history.ops, initial, step)           # None: linearizable; else the longest story that was found, and what does not fit

step(state, op) gives the states that `op`, with the result it had, may lead to: [] when that result cannot be had in this state. For an operation
without a result (op.result is UNKNOWN) it gives what it would lead to if it happened now.

The search is that of Wing and Gong with Lowe's memory: one operation after the other, the earliest that may come next, and never twice from the
same place (which are done, and the state). It is exponential at worst, so one history a register: here, a run. Standard library only.
"""
import threading
import time

UNKNOWN = object()
NEVER = float('inf')


class Op:
    def __init__(self, client, name, arg, called):
        self.client, self.name, self.arg = client, name, arg
        self.called, self.returned, self.result = called, NEVER, UNKNOWN

    def returns(self, result):
        self.result, self.returned = result, time.monotonic()

    def __repr__(self):
        return '%s %s%s → %s' % (self.client, self.name, '' if self.arg is None else '(%s)' % (self.arg,), '?' if self.result is UNKNOWN else self.result)


class History:
    def __init__(self):
        self.ops, self.lock = [], threading.Lock()

    def call(self, client, name, arg=None):
        op = Op(client, name, arg, time.monotonic())
        with self.lock:
            self.ops.append(op)
        return op


def check(ops, initial, step, most=200000):
    """None when there is such a story. Else (the longest one, the operations that could have come next). Gives up with an error after `most` places."""
    ops = sorted(ops, key=lambda o: o.called)
    known = frozenset(i for i, o in enumerate(ops) if o.result is not UNKNOWN)
    best, seen = (-1, [], []), set()
    # a place: which are done, the state, the story so far as a chain
    stack = [(frozenset(), initial, None)]
    while stack:
        done, state, story = stack.pop()
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if len(seen) > most:
            raise RuntimeError('the history is too long to be checked')
        if known <= done:
            return None
        # whoever was called before the first of the others had returned may come next
        limit = min((ops[i].returned for i in range(len(ops)) if i not in done), default=NEVER)
        next_ones = [i for i in range(len(ops)) if i not in done and ops[i].called <= limit]
        if len(done & known) > best[0]:
            best = (len(done & known), story, [ops[i] for i in next_ones])
        for i in reversed(next_ones):
            for after in step(state, ops[i]):
                stack.append((done | {i}, after, (story, ops[i])))
    told, chain = [], best[1]
    while chain:
        chain, op = chain
        told.append(op)
    return told[::-1], best[2]
