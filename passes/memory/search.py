"""Local search: repairs a plan around the buffers that stick out above a goal.

A plan is the result of placing buffers in some order, each as low as it goes; placing them in order
of their offsets gives the plan itself or a lower one.  A step moves a buffer that sticks out before
one of those it stands on, directly or not (or one of these anywhere), and keeps the new order
unless more sticks out, in units summed over buffers.  That is the hill climbing of Ethos-U Vela's
allocator, with a sum in place of a peak, so that progress shows, and moves in place of swaps.

Only a window is placed anew: the buffers nearest the highest one in the graph of meetings, between
the rest.  So a repair of a long program costs what its window costs.  Windows that do not help
grow, and the goal comes down to the bound in parts, so that few buffers stick out at a time.

Steps are counted in neighbours visited, and random numbers seeded: plans depend on buffers alone.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence

from .buffers import Buffer
from .greedy import Neighbours, lowest

FIRST_WINDOW = 24
"""Buffers of the first window."""
STEPS = 4
"""Steps without progress in a window, per buffer of it, before it grows."""
PARTS = 8
"""The goal lies this part of the way from a plan's height to the bound."""


class Search:
    """Lowers a plan towards `bound`, visiting about `budget` neighbours at most."""

    def __init__(self, buffers: Sequence[Buffer], near: Neighbours, bound: int, budget: int):
        self.near, self.bound, self.budget = near, bound, budget
        self.sizes = [b.size for b in buffers]
        self.movable = [b.lives and b.at is None for b in buffers]
        self.random = random.Random(0)

    def improve(self, offsets: Sequence[int]) -> list[int]:
        """A plan no higher than `offsets`."""
        offsets = list(offsets)
        highest = [(-offsets[i] - self.sizes[i], i) for i, m in enumerate(self.movable) if m]
        heapq.heapify(highest)
        count, most = FIRST_WINDOW, 2 * len(highest)
        while highest and self.budget > 0:
            height, top = -highest[0][0], highest[0][1]
            if height != offsets[top] + self.sizes[top]:
                heapq.heappop(highest)  # it has moved since
                continue
            if height <= self.bound:
                break
            goal = max(self.bound, height - 1 - (height - self.bound) // PARTS)
            window = _Window(self, offsets, top, goal, count)
            improved = window.repair()
            for i in window.order:
                heapq.heappush(highest, (-offsets[i] - self.sizes[i], i))
            count = FIRST_WINDOW if improved or 2 * count > most else 2 * count
        return offsets

    def pick(self, count: int) -> int:
        """A random number below `count`."""
        return int(self.random.random() * count)


class _Window:
    """Movable buffers around the highest one, and the room that the rest leaves them."""

    def __init__(self, search: Search, offsets: list[int], top: int, goal: int, count: int):
        self.search, self.offsets, self.goal = search, offsets, goal
        self.sizes = search.sizes
        self.height = self._end(top)
        chosen = self._around(top, count)
        inside = set(chosen)
        self.order = sorted(chosen, key=lambda i: (offsets[i], i))
        self.near = {i: [j for j in search.near[i] if j in inside] for i in chosen}
        self.taken = {i: self._merged(i, inside) for i in chosen}

    def repair(self) -> bool:
        """Whether less sticks out after some steps; never more."""
        order, search = self.order, self.search
        before = excess = sum(max(self._end(i) - self.goal, 0) for i in order)
        found = self._place(order, 0, excess)
        assert found is not None
        excess, idle = found, 0
        while excess and idle < STEPS * len(order) and search.budget > 0:
            moved = self._moved(order)
            if moved is None:
                break
            changed, start = moved
            kept = [self.offsets[i] for i in changed[start:]]
            found = self._place(changed, start, excess)
            idle = 0 if found is not None and found < excess else idle + 1
            if found is None:
                for i, at in zip(changed[start:], kept, strict=True):
                    self.offsets[i] = at
            else:
                order, excess = changed, found
        return excess < before

    def _end(self, i: int) -> int:
        return self.offsets[i] + self.sizes[i]

    def _around(self, seed: int, count: int) -> list[int]:
        """Up to `count` movable buffers, by breadth-first search from `seed`."""
        chosen, seen, at = [seed], {seed}, 0
        while at < len(chosen) < count:
            near = self.search.near[chosen[at]]
            self.search.budget -= len(near)
            for j in near:
                if j not in seen and self.search.movable[j]:
                    seen.add(j)
                    chosen.append(j)
            at += 1
        return chosen[:count]

    def _merged(self, i: int, inside: set[int]) -> list[tuple[int, int]]:
        """Ranges taken by neighbours of `i` outside the window, ascending, apart."""
        near = self.search.near[i]
        self.search.budget -= len(near)
        merged: list[tuple[int, int]] = []
        for low, high in sorted((self.offsets[j], self._end(j)) for j in near if j not in inside):
            if merged and low <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(high, merged[-1][1])
            else:
                merged.append((low, high))
        return merged

    def _moved(self, order: list[int]) -> tuple[list[int], int] | None:
        """Another order to try, and from where it differs; None if nothing can move."""
        high = [i for i in order if self._end(i) > self.goal]
        below = self._stack(high[self.search.pick(len(high))])
        if len(below) < 2:
            return None
        pick = self.search.pick
        if pick(3):
            mover, before = below[0], below[1 + pick(len(below) - 1)]
        else:
            mover, before = below[pick(len(below))], order[pick(len(order))]
        source, target = order.index(mover), order.index(before)
        changed = list(order)
        del changed[source]
        changed.insert(target, mover)
        return changed, min(source, target)

    def _stack(self, top: int) -> list[int]:
        """`top` and the buffers of the window it stands on, directly or not."""
        stack, seen, at = [top], {top}, 0
        while at < len(stack):
            low = self.offsets[stack[at]]
            for j in self.near[stack[at]]:
                if j not in seen and self._end(j) == low:
                    seen.add(j)
                    stack.append(j)
            self.search.budget -= len(self.near[stack[at]])
            at += 1
        return stack

    def _place(self, order: Sequence[int], start: int, most: int) -> int | None:
        """Place `order[start:]` anew; what sticks out of `order`.

        None, and some not placed, if that is more than `most` or the plan would get higher.
        """
        offsets, sizes, goal = self.offsets, self.sizes, self.goal
        excess = sum(max(self._end(i) - goal, 0) for i in order[:start])
        for i in order[start:]:
            offsets[i] = -1
        for i in order[start:]:
            near = self.near[i]
            self.search.budget -= len(near) + 1
            taken = [(offsets[j], offsets[j] + sizes[j]) for j in near if offsets[j] >= 0]
            at = offsets[i] = lowest(sorted([*self.taken[i], *taken]), sizes[i])
            excess += max(at + sizes[i] - goal, 0)
            if excess > most or at + sizes[i] > self.height:
                return None
        return excess
