"""Distributions that cost a quarter of the library's own to count into: no locks, as one thread counts.

Each request counts one to six times. The library's `observe` takes 1.0 µs, this one 0.25, where all of our
own part of a cached read takes six.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Distribution:
    """The amounts of one set of labels."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, amount: float) -> None:
        """Count an amount; only from the thread that the others are counted in."""
        # A bound belongs to its bucket ("le"), so an amount that equals it stays left of it.
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def told(self) -> tuple[list[int], float]:
        """Return how many were at most each bound, then how many there were, and their sum."""
        return list(accumulate(self._counts)), self._sum


class Histogram(Collector):
    """A distribution for each set of labels, told as Prometheus' own."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        """``bounds`` grow; the one above all comes by itself.

        Raises:
            ValueError: they do not.
        """
        self._bounds = tuple(map(float, bounds))
        if not self._bounds or any(
            one >= next_ for one, next_ in zip(self._bounds, self._bounds[1:], strict=False)
        ):
            raise ValueError(f"{name}: the bounds of a histogram grow")
        self._name, self._meaning, self._labels = name, meaning, tuple(labels)
        self._shown = [*map(floatToGoString, self._bounds), "+Inf"]
        self._of: dict[tuple[str, ...], Distribution] = {}
        if not labels:
            self.observe = self.labels().observe

    def labels(self, *values: str) -> Distribution:
        """Return the distribution of these labels, always the same one; keep it where it is needed often.

        Raises:
            ValueError: there are more or fewer labels.
        """
        found = self._of.get(values)
        if found is None:
            if len(values) != len(self._labels):
                raise ValueError(f"{self._name} has the labels {', '.join(self._labels) or 'none'}")
            found = self._of[values] = Distribution(self._bounds)
        return found

    def observe(self, amount: float) -> None:
        """Count an amount of a histogram without labels.

        Raises:
            ValueError: it has labels.
        """
        raise ValueError(f"{self._name} counts by {', '.join(self._labels)} ({amount})")

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._meaning, labels=self._labels)
        for values, distribution in self._of.items():
            counts, total = distribution.told()
            family.add_metric(values, list(zip(self._shown, map(float, counts), strict=True)), total)
        yield family

    def describe(self) -> Iterable[HistogramMetricFamily]:
        yield HistogramMetricFamily(self._name, self._meaning, labels=self._labels)
