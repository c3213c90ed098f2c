"""``docs/results.md`` and its pictures, written from ``results.parquet``: no number on that page was typed by hand.

The grid says only what should be there, so that what is missing can be shown as missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.quality import figures, results, tables, tuning
from benchmarks.quality.grid import NOISE, ORIGINAL, PLANTED, REFERENCE, YARDSTICKS, Grid, Place, courses, places
from benchmarks.quality.markdown import (
    MISSING,
    duel,
    folded,
    heading,
    named,
    number,
    plain,
    quota,
    reached,
    signed,
    state_of,
    table,
    tally,
)
from benchmarks.quality.tables import CRITERIA, SPOT, TRU, Night, Results, Spot, Summary

FAILED = "failed"
COLUMNS = {
    "NDCG@20": ("test/ndcg@20", 4),
    "/ retrained": ("relative/ndcg@20", 3),
    "Recall@20": ("test/recall@20", 4),
    "forget Recall@20": ("forget/recall@20", 3),
    "its distance": ("distance/forget_recall@20", 3),
    "membership AUC": ("membership_auc", 3),
    "its distance ": ("distance/membership_auc", 3),
    "copies": ("distance/last_vector_auc", 3),
    "canary AUC": ("canary_auc", 3),
    "KS": ("ks", 3),
    "below retrained": ("over_forgotten", 2),
    "lists": ("distance/lists", 3),
    "CPU s": ("cpu_seconds", 2),
    "audit s": ("audit_seconds", 1),
    "faster": ("speedup", 1),
    "violations": ("violations", 0),
}
"""Column of the main table -> metric and decimals."""
PICTURES = {
    "trade-off": "What is kept against what is forgotten, both relative to retraining; the cross is retraining itself.",
    "time": "How much faster than retraining, and how far from it. Dotted: the target.",
    "ablation": "What changes when an intervention is switched off; above zero is worse without it.",
    "drift": "Night after night; dashed: another retrain. Dotted: the targets.",
}


def write(file: Path, docs: Path, grid: Grid, chosen: Mapping[str, Any]) -> None:
    """Write the page and its pictures.

    Args:
        file: the results.
        docs: folder of the page; pictures go to ``figures`` in it.
        grid: what should be there.
        chosen: the rivals' settings, as :func:`benchmarks.quality.cells.load_tuning` reads them.

    Raises:
        DataError: there are no results.
    """
    frame = results.load(file)
    found = Results(frame)
    made = figures.draw(found, docs / "figures")
    page = Page(found, grid, frame, chosen)
    words = "\n".join(page.lines({name: path.relative_to(docs) for name, path in made.items()}))
    docs.mkdir(parents=True, exist_ok=True)
    beside = docs / "results.md.new"
    beside.write_text(words.rstrip() + "\n")
    beside.replace(docs / "results.md")


class Page:
    """The page, section by section."""

    def __init__(self, found: Results, grid: Grid, frame: pd.DataFrame, chosen: Mapping[str, Any]) -> None:
        self.found, self.grid, self.frame, self.chosen = found, grid, frame, chosen
        expected = dict.fromkeys((p.backbone, p.dataset, p.regime, p.fraction) for p in places(grid))
        self.expected: list[Spot] = list(dict.fromkeys([*expected, *found.spots()]))
        self.spots = [spot for spot in self.expected if found.methods(spot)]

    def lines(self, pictures: dict[str, Path]) -> Iterator[str]:
        """All of it."""
        yield "# Results"
        yield ""
        yield (
            "Written by `python -m benchmarks.quality report` from `benchmarks/quality/results.parquet`; nothing here "
            "was typed by hand. Numbers are medians over seeds ± half the range. Each seed has its own original and, "
            "for each set of what is forgotten, its own *reference*: retrained under the original's own dice, it is "
            "what all are compared with. *retrain* repeats the reference under other dice: it says how much two "
            "retrains differ (the noise). In rows of commits before 07e6502 it is the next seed's reference, which "
            "differs by its number of epochs as well. What is missing is shown as missing, what failed as failed. The "
            "metrics: docs/method.md."
        )
        sections = (
            self.summary,
            self.backbones,
            self.targets,
            self.matches,
            self.settings,
            self.methods,
            self.ablations,
            self.nights,
            self.planted,
            self.audits,
        )
        for section in sections:
            yield ""
            yield from section()
            for name in {"summary": ("trade-off", "time"), "ablations": ("ablation",), "nights": ("drift",)}.get(
                section.__name__, ()
            ):
                if name in pictures:
                    yield from ("", f"![{PICTURES[name]}]({pictures[name].as_posix()})", "", f"*{PICTURES[name]}*")
        yield ""
        yield from self.absent()

    # -- sections -----------------------------------------------------------------------------------------------------

    def summary(self) -> Iterator[str]:
        """What a reader in a hurry wants, and every place that falls short."""
        yield "## In short"
        yield ""
        yield f"- Measured: {len(self.spots)} of {len(self.expected)} places; the rest is listed at the end."
        judged = [(spot, target) for spot in self.spots for target in tables.targets(self.found, spot)]
        yield f"- Targets of TRU: {tally([t.word for _, t in judged], ('met', 'FAILED', 'missing'))}."
        for name in dict.fromkeys(target.name for _, target in judged):
            missed = [(spot, reached(t)) for spot, t in judged if (t.name, t.word) == (name, "FAILED")]
            yield from named(f"FAILED, {name}", missed)
        whole = [spot for spot in self.spots if self._rivals(spot)[0] == self._rivals(spot)[1]]
        together: list[str] = []
        for letter, (name, _) in CRITERIA.items():
            matches = [(spot, tables.match(self.found, spot, letter)) for spot in whole]
            words = [match.word for _, match in matches]
            together += words
            where = f"{len(whole)} places where every rival was measured"
            yield f"- TRU against its approximate rivals, ({letter}) {name}, {where}: {quota(words)}."
            for word in ("WORSE", "CATASTROPHIC"):
                yield from named(word, [(spot, duel(m)) for spot, m in matches if m.word == word])
        yield f"- All three together, {len(together)} cells: {quota(together)}."

    def _rivals(self, spot: Spot) -> tuple[int, int]:
        """How many approximate rivals were measured with all seeds, and how many there are."""
        mine = (TRU, *YARDSTICKS, *tables.EXACT)
        there = [m for m in self._expected(spot) if m not in mine and not m.startswith(f"{TRU}/")]
        asked = len(self.grid.seeds_of(spot[1]))
        measured = [m for m in there if self.found.get(spot, m, "ks").count + self.found.failures(spot, m) >= asked]
        return len(measured), len(there)

    def backbones(self) -> Iterator[str]:
        """The originals as recommenders."""
        yield "## Backbones"
        yield ""
        yield (
            "The originals, on all of their own validation and test rows, train items masked. *epochs*: the best one, "
            "by validation NDCG@20. The Amazon sets have features that were rebuilt from published neighbour graphs, "
            "which MGCN reads as they are, and MIG-GT only through the features."
        )
        parts = [f"{part}/{name}@20" for part in ("validation", "test") for name in ("recall", "ndcg")]
        metrics = [(f"backbone/{part}", 4) for part in parts] + [("backbone/epochs", 0), ("cpu_seconds", 0)]
        rows, used = [], []
        for pair in dict.fromkeys(spot[:2] for spot in self.spots):
            spots = [spot for spot in self.spots if spot[:2] == pair]
            spot = max(spots, key=lambda spot: self.found.get(spot, ORIGINAL, "backbone/test/ndcg@20").count)
            if count := self.found.get(spot, ORIGINAL, "backbone/test/ndcg@20").count:
                rows.append([*pair, str(count), *self._row(spot, ORIGINAL, metrics)])
                used.append(spot)
        names = [part.replace("ndcg", "NDCG").replace("recall", "Recall").replace("/", " ") for part in parts]
        yield from table(["backbone", "dataset", "seeds", *names, "epochs", "CPU s"], rows)
        yield self._source(used, [ORIGINAL])

    def targets(self) -> Iterator[str]:
        """The issue's targets, cell by cell."""
        yield "## Targets of TRU"
        yield ""
        yield (
            f"Retained NDCG@20 at least {tables.RETAINED} of retrained; forget Recall@20 no farther from retrained "
            f"than two retrains from each other plus {tables.RECALL_SLACK}; membership AUC within {tables.MEMBERSHIP} "
            f"of retrained; at least {tables.FASTER:.0f} times faster than retraining in processor time "
            f"({tables.FASTER_FEW:.0f} times for {tables.FEW} subjects or fewer), audits not counted."
        )
        rows = []
        for spot in self.spots:
            cells = [f"{reached(t)} **{t.word}**".strip() for t in tables.targets(self.found, spot)]
            rows.append([*spot, str(self.found.get(spot, TRU, "relative/ndcg@20").count), *cells])
        names = ["NDCG@20 / retrained", "forget Recall@20 distance", "membership AUC distance", "times faster"]
        yield from table([*SPOT, "seeds", *names], rows)
        yield self._source([*self.spots], [TRU, NOISE, REFERENCE])

    def matches(self) -> Iterator[str]:
        """TRU against the approximate rivals."""
        yield "## TRU against its approximate rivals"
        yield ""
        yield (
            "TRU's value / the best rival's / the noise, less is better. *best*: no rival is nearer; *tied*: farther "
            "by no more than the noise, the same quantity between two retrains; *CATASTROPHIC*: farther by more than "
            f"{tables.CATASTROPHIC} and the noise. Exact methods ({', '.join(tables.EXACT)}) are not rivals here."
        )
        rows = []
        for spot in self.spots:
            cells = []
            for letter in CRITERIA:
                match = tables.match(self.found, spot, letter)
                cells.append(f"**{MISSING}**" if match.word == MISSING else f"{duel(match)} **{match.word}**")
            rows.append([*spot, "{} of {}".format(*self._rivals(spot)), *cells])
        yield from table(
            [*SPOT, "rivals measured", *(f"({letter}) {name}" for letter, (name, _) in CRITERIA.items())], rows
        )
        methods = dict.fromkeys(m for spot in self.spots for m in [TRU, NOISE, *self.found.rivals(spot)])
        yield self._source(self.spots, [*methods])

    def settings(self) -> Iterator[str]:
        """What the rivals were set to."""
        return tuning.lines(self.chosen)

    def methods(self) -> Iterator[str]:
        """All methods at each spot."""
        yield "## All methods"
        yield ""
        yield (
            "*its distance*: to the reference, without sign. *copies*: that of the membership AUC by the vectors that "
            "users of whom no edge is left were last served with; somebody may have kept them. *KS*: of the rank "
            "percentiles of the forgotten pairs. *below retrained*: share of the forgotten pairs that rank lower than "
            "in the reference (.5 is even). *lists*: share of the top-20 lists that differ from the reference's. "
            "*faster*: processor time of the reference's training by that of the method, the median of three runs. "
            "*violations*: of what must be exactly zero."
        )
        for spot in self.spots:
            methods = [m for m in self._expected(spot) if not m.startswith(f"{TRU}/")]
            yield from ("", f"### {heading(spot)}")
            rows = [[method, *self._row(spot, method, COLUMNS.values())] for method in methods]
            yield from table(["method", *COLUMNS], rows)
            yield self._source([spot], methods)

    def ablations(self) -> Iterator[str]:
        """What each intervention earns."""
        yield "## Ablations"
        yield ""
        yield (
            "Change of each criterion when one part of TRU is switched off, paired by seed; above zero is worse "
            "without it. *earns* and *harms*: by more than the noise between two retrains."
        )
        names = [f"{TRU}/{name}" for name in self.grid.ablations]
        tallies, rows = [], []
        for name in names:
            spots = [spot for spot in self.spots if name in self._expected(spot)]
            words = [tables.earned(self.found, spot, name, c).word for spot in spots for c in CRITERIA]
            tallies.append([name, *(str(words.count(w)) for w in ("earns", "no difference", "harms", "missing"))])
            for spot in spots:
                parts = [tables.earned(self.found, spot, name, c) for c in CRITERIA]
                if all(part.word == MISSING for part in parts):
                    continue
                rows.append([name, *spot, *(f"{signed(p.change)} (noise {plain(p.noise, 4)}) {p.word}" for p in parts)])
        yield from table(["switched off", "earns", "no difference", "harms", "missing"], tallies)
        yield from folded("Every cell", table(["switched off", *SPOT, *(n for n, _ in CRITERIA.values())], rows))
        yield self._source(self.spots, [TRU, NOISE, *names])

    def nights(self) -> Iterator[str]:
        """Many nights, and when a retrain is due."""
        yield "## Many nights"
        found = self.found.nights()
        keys = dict.fromkeys([*((c.backbone, c.dataset, c.regime, c.size) for c in courses(self.grid)), *found])
        expected = {(c.backbone, c.dataset, c.regime, c.size): c.nights for c in courses(self.grid)}
        for key in keys:
            backbone, dataset, regime, size = key
            course = list(tables.course(self.found, key, sorted({*expected.get(key, ()), *found.get(key, ())})))
            yield from ("", f"### {backbone} on {dataset}: {size} {regime} requests a night")
            metrics = [
                "relative/ndcg@20",
                "distance/forget_recall@20",
                "distance/membership_auc",
                "ks",
                "distance/lists",
            ]
            rows = []
            for night in course:
                pairs = [
                    f"{self._cell(night.spot, TRU, m, 3)} ({self._cell(night.spot, NOISE, m, 3)})" for m in metrics
                ]
                state = state_of(night)
                share = f"{night.share:.1%}" if np.isfinite(night.share) else MISSING
                rows.append([str(night.night), share, *pairs, self._cell(night.spot, TRU, "cpu_seconds", 2), state])
            head = ["NDCG@20 / retrained", "forget Recall@20 distance", "membership AUC distance", "KS", "lists"]
            yield from table(["nights", "forgotten", *head, "CPU s of the last", "targets"], rows)
            yield self._rule(course)
            yield self._source([night.spot for night in course], [TRU, NOISE, REFERENCE])
        if not keys:
            yield from ("", "No course of nights was measured.")

    def _rule(self, course: Sequence[Night]) -> str:
        """When a retrain is due on this course, in words."""
        measured = [night for night in course if np.isfinite(night.share)]
        first = tables.due(measured)
        if not measured:
            return "\nIn brackets: an independently shuffled retrain. Nothing was measured yet."
        said = "\nIn brackets: an independently shuffled retrain. "
        due = "A retrain is due once a target fails, and fails ever after, by more than two retrains differ."
        if first is None:
            return f"{said}{due} That is not so up to the last night measured ({measured[-1].share:.1%} forgotten)."
        return f"{said}{due} That is so from night {first.night} on ({first.share:.1%} forgotten)."

    def planted(self) -> Iterator[str]:
        """Users who never were, and what they pushed."""
        yield "## Planted users"
        yield ""
        yield (
            "Fake users were trained on as if they were real; each has the same few unpopular items, and some items of "
            "one real user. *exposure*: how many of a thousand pairs of a real user and a pushed item show it in the "
            "top 20. Once the fakes are forgotten it should be what it is in the reference, which never saw them."
        )
        spots = [spot for spot in self.spots if spot[2] == PLANTED]
        methods = list(dict.fromkeys(m for spot in spots for m in self._expected(spot)))
        rows = [[heading(spot), *(self._exposure(spot, method) for method in methods)] for spot in spots]
        yield from table(["exposure, per mille", *methods], rows)
        yield self._source(spots, methods)

    def _exposure(self, spot: Spot, method: str) -> str:
        values = 1000 * self.found.values(spot, method, "audit/exposure@20/planted")
        return number(Summary.of(values), 2) if len(values) else MISSING

    def audits(self) -> Iterator[str]:
        """Everything the audit suite says, folded."""
        yield "## Audits"
        yield ""
        names = self.found.metrics("audit/")
        yield "Medians over seeds of what `tru.evaluation.research.suite` measures; compare with *reference*."
        for spot in self.spots:
            methods = [
                m for m in self._expected(spot) if not m.startswith(f"{TRU}/") and self.found.values(spot, m, "ks").size
            ]
            methods = [*(m for m in (REFERENCE,) if REFERENCE in self.found.methods(spot)), *methods]
            here = [n for n in names if any(self.found.get(spot, m, n).known for m in methods)]
            if here:
                rows = [[f"`{n.removeprefix('audit/')}`", *(self._cell(spot, m, n, 3) for m in methods)] for n in here]
                yield ""
                yield from folded(heading(spot), [*table(["audit", *methods], rows), self._source([spot], methods)])
        if not names:
            yield from ("", "None were measured.")

    def absent(self) -> Iterator[str]:
        """What is missing or failed."""
        yield "## What is missing, and what failed"
        yield ""
        if left := [heading(spot) for spot in self.expected if spot not in self.spots]:
            yield f"Not measured at all: {'; '.join(left)}."
        rows = []
        for spot in self.spots:
            for method in self._expected(spot):
                failed = self.found.failures(spot, method)
                there = len(self.found.values(spot, method, "test/ndcg@20"))
                missing = len(self.grid.seeds_of(spot[1])) - there - failed
                if failed or missing > 0:
                    rows.append([*spot, method, str(failed), str(max(missing, 0))])
        if rows:
            yield from table([*SPOT, "method", "seeds failed", "seeds missing"], rows)
        elif not left:
            yield "Nothing of the grid is missing, and nothing failed."

    # -- cells --------------------------------------------------------------------------------------------------------

    def _expected(self, spot: Spot) -> list[str]:
        return list(dict.fromkeys([*self.grid.rows(Place(*spot, self.grid.seeds[0])), *self.found.methods(spot)]))

    def _row(self, spot: Spot, method: str, columns: Iterable[tuple[str, int]]) -> Iterator[str]:
        for metric, digits in columns:
            yield self._cell(spot, method, metric, digits)

    def _cell(self, spot: Spot, method: str, metric: str, digits: int) -> str:
        """A number; or why there is none: ``failed``, ``missing``, or a dash where it has no meaning."""
        value = self.found.get(spot, method, metric)
        failed = self.found.failures(spot, method)
        if value.known:
            return number(value, digits) + (f" ({failed} failed)" if failed else "")
        if failed:
            return FAILED
        return "–" if method in self.found.methods(spot) else MISSING

    def _source(self, spots: Sequence[Spot], methods: Sequence[str]) -> str:
        """Where the numbers of a table come from."""
        index = pd.MultiIndex.from_frame(self.frame[SPOT])
        rows = self.frame[index.isin(list(spots)) & self.frame["method"].isin(list(methods))]
        if not len(rows):
            return "\n<sub>nothing measured yet</sub>"
        data = rows[["dataset", "data_md5"]].drop_duplicates().sort_values(["dataset", "data_md5"])
        md5 = ", ".join(f"{name} {md5}" for name, md5 in data.itertuples(index=False))
        seeds = ", ".join(map(str, sorted(rows["seed"].unique())))
        return f"\n<sub>commit {', '.join(sorted(rows['commit'].unique()))} · data md5 {md5} · seeds {seeds}</sub>"
