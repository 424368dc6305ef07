"Any sequence of decisions, undos, imports, rules and versions gives what a plain model gives."

import itertools
import shutil
import tempfile
from pathlib import Path

import pandas as pd
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from movie_tagger.ledger.ledger import Ledger

ITEMS = [f"{k}.jpg" for k in range(5)]
TAGS = ["phone", "Telephone", "horse", "animal", "a", "b", "c", "x,y"]
RANKS = {
    "curator:anna": 3,
    "curator:ben": 3,
    "user:1": 2,
    "api:site": 2,
    "import:a": 1,
    "import:b": 1,
}
ACTORS = list(RANKS)
PEOPLE = ACTORS[:4]
IMPORTS = ACTORS[4:]
RULES = {  # text → merge, implies, exclude, min_count
    "min_count = 0\n": ({}, {}, set(), 0),
    '[merge]\nphone = ["telephone"]\n': ({"telephone": "phone"}, {}, set(), 0),
    'min_count = 2\nexclude = ["b"]\n[implies]\nhorse = ["animal"]\n': (
        {},
        {"horse": ["animal"]},
        {"b"},
        2,
    ),
}
states = st.sampled_from([True, False, None])
items = st.sampled_from(ITEMS)
tags = st.sampled_from(TAGS)
actors = st.sampled_from(ACTORS)


class Model:
    "A list of events, and nothing else: (number, kind, actor, batch, item, tag, state, value)."

    def __init__(self):
        self.events = []

    def write(self, kind, actor, batch=None, item=None, tag=None, state=None, value=None):
        self.events.append((len(self.events) + 1, kind, actor, batch, item, tag, state, value))
        return len(self.events)

    def in_force(self, version=None):
        "Events up to a version that no undo in force covers, read from the newest to the oldest."
        events = self.events[:version]
        covered, alive = set(), []
        for e in reversed(events):
            if e[0] in covered:
                continue
            alive.append(e)
            if e[1] == "undo":
                what, value = e[7]
                covered |= {
                    f[0]
                    for f in events
                    if f[0] < e[0] and f[{"event": 0, "batch": 3, "actor": 2}[what]] == value
                }
        return alive[::-1]

    def cells(self, version=None):
        "For each item and tag the state that holds and (rank, event)."
        words = {}
        for n, kind, actor, _, item, tag, state, _ in self.in_force(version):
            if kind == "set":
                words.setdefault((item, tag), {})[actor] = (RANKS[actor], n, state)
        cells = {}
        for cell, by_actor in words.items():
            counting = [w for w in by_actor.values() if w[0] > 1 or w[2] is not None]
            if counting:
                cells[cell] = max(counting)
        return cells

    def items(self, version=None):
        "The items that are there and not hidden, with their groups, in the order they came in."
        there, hidden = {}, {}
        for n, kind, actor, _, item, _, state, value in self.in_force(version):
            if kind == "add":
                there[item] = value
            if kind == "hide":
                hidden[item] = max(hidden.get(item, (0, 0, 0)), (RANKS[actor], n, state))
        return {
            i: there[i]
            for i in dict.fromkeys(e[4] for e in self.events if e[1] == "add")
            if i in there and not hidden.get(i, (0, 0, 0))[2]
        }

    def setting(self, kind, version=None):
        return [e[7] for e in self.in_force(version) if e[1] == kind]

    def labels(self, version=None, ruled=None, shown=None):
        "Known cells in clean words, tags with a column, cells a person said no to, and all known."
        shown = shown or self.items(version)
        ruled = version if ruled is None else ruled
        found = {}
        texts = self.setting("rules", ruled)
        merge, implies, exclude, least = RULES[texts[-1]] if texts else ({}, {}, set(), 0)
        clean = (lambda t: merge.get(t.lower(), t.lower())) if texts else (lambda t: t)
        for (item, tag), (rank, n, state) in self.cells(version).items():
            if item not in shown or "," in tag:
                continue
            for word in [clean(tag)] + (implies.get(clean(tag), []) if state else []):
                found.setdefault((item, word), []).append(
                    (rank, rank == 1 and bool(state), n, state)
                )
        found = {
            cell: max(words, key=lambda w: w[:3])
            for cell, words in found.items()
            if cell[1] not in exclude
        }
        sets = []
        for one in self.setting("single", ruled):
            sets = [s for s in sets if not set(s) & set(one)] + [one]
        for one in sets:
            one = [t for t in dict.fromkeys(map(clean, one)) if t not in exclude]
            for item in shown:
                yes = {t: found[item, t] for t in one if (item, t) in found and found[item, t][3]}
                if yes:
                    best = max(yes, key=lambda t: yes[t][:3])
                    found |= {(item, t): (*yes[best][:3], t == best) for t in one}
        known = {cell: word for cell, word in found.items() if word[3] is not None}
        counts = {t: sum(bool(w[3]) for (_, u), w in known.items() if u == t) for _, t in known}
        columns = sorted(t for t in counts if not texts or counts[t] >= least)
        every = {cell: bool(word[3]) for cell, word in known.items()}
        return (
            {c: v for c, v in every.items() if c[1] in columns},
            columns,
            {c for c, w in known.items() if not w[3] and w[0] > 1},
            every,
        )


class LedgerMachine(RuleBasedStateMachine):
    numbers, names = Bundle("numbers"), Bundle("names")

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.ledger = Ledger(self.folder / "ledger.db")
        self.model = Model()
        self.named = {}

    def teardown(self):
        self.ledger.verify()
        self.ledger.close()
        shutil.rmtree(self.folder)

    def _frame(self, chosen, group):
        return pd.DataFrame(
            {"path": [f"/p/{i}" for i in chosen], "group": group},
            index=pd.Index(chosen, name="item"),
        )

    def _there(self, version=None):
        "Items that are there, hidden ones too."
        there = {}
        for e in self.model.in_force(version):
            if e[1] == "add":
                there[e[4]] = e[7]
        return there

    def _batch(self, batch, size):
        return batch or (f"unnamed {len(self.model.events) + 1}" if size > 1 else None)

    @initialize(chosen=st.lists(items, unique=True, min_size=2))
    def begin(self, chosen):
        self._add(chosen, "import:a", "g", False)

    @rule(
        chosen=st.lists(items, unique=True, max_size=3),
        actor=actors,
        group=st.sampled_from(["g", "h"]),
        regroup=st.booleans(),
    )
    def add(self, chosen, actor, group, regroup):
        self._add(chosen, actor, group, regroup)

    def _add(self, chosen, actor, group, regroup, batch=None, name=True):
        there, batch = self._there(), self._batch(batch, len(chosen))
        new = [i for i in chosen if i not in there or regroup and there[i] != group]
        done = self.ledger.add(self._frame(chosen, group), actor, regroup=regroup)
        assert done == len(new)
        for i in new:
            self.model.write("add", actor, batch, i, value=group)

    @rule(
        target=numbers,
        cells=st.dictionaries(st.tuples(items, tags), states, min_size=1, max_size=4),
        actor=actors,
        batch=st.sampled_from([None, None, "one", "two"]),
        once=st.booleans(),
    )
    def decide(self, cells, actor, batch, once):
        there = self._there()
        cells = {c: s for c, s in cells.items() if c[0] in there}
        for one in self._sets():  # the ledger refuses two yes in a set
            for item in ITEMS:
                for tag in [t for t in one if cells.get((item, t))][1:]:
                    del cells[item, tag]
        rows = pd.DataFrame(
            [(*c, s) for c, s in cells.items()], columns=["item", "tag", "state"], dtype=object
        )
        known = {e[3] for e in self.model.events} | self.used
        done = self.ledger.decide(rows, actor, batch, once=once and batch is not None)
        if once and batch in known and batch:
            assert done == 0
        else:
            assert done == len(cells)
            if batch:
                self.used.add(batch)
            batch = self._batch(batch, len(cells))
            for (item, tag), state in cells.items():
                self.model.write("set", actor, batch, item, tag, state)
        return len(self.model.events)

    used = property(lambda self: self.__dict__.setdefault("_used", set()))

    def _sets(self):
        sets = []
        for one in self.model.setting("single"):
            sets = [s for s in sets if not set(s) & set(one)] + [one]
        return sets

    @rule(
        cells=st.dictionaries(
            st.tuples(items, tags), st.sampled_from([True, True, False]), max_size=4
        ),
        about=st.lists(items, unique=True, min_size=1),
        actor=st.sampled_from(IMPORTS),
        complete=st.booleans(),
    )
    def sync(self, cells, about, actor, complete):
        cells, there = {c: s for c, s in cells.items() if c[0] in about}, self._there()
        batch, new = f"unnamed {len(self.model.events) + 1}", [i for i in about if i not in there]
        before = {}
        for e in self.model.in_force():
            if e[1] == "set" and e[2] == actor:
                before[e[4], e[5]] = e[6]
        before = {c: s for c, s in before.items() if s is not None}
        changed = {c: s for c, s in cells.items() if before.get(c) != s}
        if complete:
            changed |= {c: None for c in before if c not in cells and c[0] in about}
        rows = pd.DataFrame(
            [(*c, s) for c, s in cells.items()], columns=["item", "tag", "state"], dtype=object
        )
        assert self.ledger.sync(self._frame(about, "g"), rows, actor, complete=complete) == len(
            new
        ) + len(changed)
        for i in new:
            self.model.write("add", actor, batch, i, value="g")
        events = self.ledger.events().iloc[
            len(self.model.events) :
        ]  # the ledger chooses the order within a step
        assert {
            (r.item, r.tag): None if r.state is pd.NA else bool(r.state)
            for r in events.itertuples()
        } == changed
        for r in events.itertuples():
            self.model.write(
                "set", actor, batch, r.item, r.tag, None if r.state is pd.NA else bool(r.state)
            )
        assert self.ledger.sync(self._frame(about, "g"), rows, actor, complete=complete) == 0

    @rule(item=items, actor=actors, hide=st.booleans())
    def hide(self, item, actor, hide):
        if item not in self._there():
            return
        (self.ledger.exclude if hide else self.ledger.restore)(item, actor)
        self.model.write("hide", actor, None, item, state=hide)

    @rule(text=st.sampled_from(list(RULES)), actor=st.sampled_from(PEOPLE))
    def rules(self, text, actor):
        if self.model.setting("rules")[-1:] != [text]:
            self.model.write("rules", actor, value=text)
        self.ledger.set_rules(text, actor)

    @rule(
        tags=st.lists(st.sampled_from(["a", "b", "c"]), unique=True, min_size=2),
        actor=st.sampled_from(PEOPLE),
    )
    def single(self, tags, actor):
        if not any(set(tags) == set(s) for s in self._sets()):
            self.model.write("single", actor, value=tags)
        self.ledger.single(tags, actor)

    def _undo(self, by, scope, **kwargs):
        alive = {e[0]: e[1] for e in self.model.in_force()}
        in_scope = [
            e[0]
            for e in self.model.events
            if e[{"event": 0, "batch": 3, "actor": 2}[scope[0]]] == scope[1]
        ]
        if any(n in alive for n in in_scope):
            self.model.write("undo", by, value=scope)
        after = {e[0]: e[1] for e in self.model.in_force()}
        moved = {n for n in set(alive) ^ set(after) if (alive | after)[n] != "undo"}
        assert self.ledger.undo(by, **kwargs) == len(moved)

    @rule(by=st.sampled_from(PEOPLE), data=st.data())
    def undo_event(self, by, data):
        n = data.draw(st.integers(max(1, len(self.model.events) - 12), len(self.model.events)))
        self._undo(by, ("event", n), event=n)

    @precondition(lambda self: any(e[1] == "undo" for e in self.model.events))
    @rule(by=st.sampled_from(PEOPLE), data=st.data())
    def undo_an_undo(self, by, data):
        n = data.draw(st.sampled_from([e[0] for e in self.model.events if e[1] == "undo"]))
        self._undo(by, ("event", n), event=n)

    @rule(by=st.sampled_from(PEOPLE), data=st.data())
    def undo_batch_or_actor(self, by, data):
        k, what = data.draw(st.sampled_from([(3, "batch"), (2, "actor")]))
        names = sorted({e[k] for e in self.model.events if e[k]})
        if names:
            name = data.draw(st.sampled_from(names))
            self._undo(by, (what, name), **{what: name})

    @rule(by=actors)
    def undo_the_last(self, by):
        mine = [e for e in self.model.in_force() if e[2] == by and e[1] != "undo"]
        if not mine:
            assert self.ledger.undo(by) == 0
        else:
            self._undo(by, ("batch", mine[-1][3]) if mine[-1][3] else ("event", mine[-1][0]))

    @rule(target=names, data=st.data())
    def name_a_version(self, data):
        name = f"version {len(self.named)} of {chr(97 + len(self.named) % 26)}"
        at = data.draw(st.none() | st.integers(0, len(self.model.events)))
        self.named[name] = len(self.model.events) if at is None else at
        assert self.ledger.tag_version(name, at) == self.named[name]
        return name

    @rule(name=names)
    def read_a_named_version(self, name):
        self._compare(self.named[name], name)

    @rule(number=consumes(numbers))
    def read_an_old_version(self, number):
        self._compare(number, number)

    @rule()
    def open_again(self):
        self.ledger.close()
        self.ledger = Ledger(self.folder / "ledger.db")

    @rule(data=st.data())
    def diff(self, data):
        a, b = sorted(data.draw(st.tuples(*[st.integers(0, len(self.model.events))] * 2)))

        def side(v):
            return self.model.labels(v, b, self._there(v))[3] if self._there(v) else {}

        one, two = side(a), side(b)
        changed = {c for c in one | two if one.get(c) != two.get(c)}
        table = self.ledger.diff(a, b).table
        assert {(r.item, r.tag) for r in table.itertuples() if r.tag[0] != "("} == changed
        assert (
            set(table["item"][table["tag"] == "(item)"])
            == self._there(a).keys() ^ self._there(b).keys()
        )

    def _compare(self, model_version, version):
        shown, (cells, columns, *_) = (
            self.model.items(model_version),
            self.model.labels(model_version),
        )
        items, labels = self.ledger.read(version)
        assert items["group"].to_dict() == shown and labels.index.equals(items.index)
        assert list(labels) == columns
        assert {(i, t): bool(v) for t in labels for i, v in labels[t].dropna().items()} == cells

    @invariant()
    def the_present_is_the_models(self):
        self._compare(None, None)
        assert self.ledger.version == len(self.model.events)

    @invariant()
    def what_is_rejected_is_the_models(self):
        rejected = {tuple(r) for r in self.ledger.rejected().to_numpy()}
        hidden = self._there().keys() - self.model.items().keys()
        assert {c for c in rejected if c[0] not in hidden} == self.model.labels()[2]

    @invariant()
    def the_events_are_the_models(self):
        events = self.ledger.events()
        alive = {e[0] for e in self.model.in_force()}
        assert events.index[~events["undone"]].tolist() == sorted(alive)


LedgerMachine.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    # shrinking a sequence takes minutes, and 25 steps can be read
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
TestLedger = LedgerMachine.TestCase


def test_the_model_itself():
    "The model's own few sentences, so that both are not wrong together."
    m = Model()
    for i, k in itertools.product(ITEMS[:2], [0]):
        m.write("add", "import:a", "first", i, value=k)
    a = m.write("set", "import:a", "first", "0.jpg", "a", True)
    b = m.write("set", "curator:anna", None, "0.jpg", "a", False)
    assert m.labels()[0] == {("0.jpg", "a"): False} and m.labels(a)[0] == {("0.jpg", "a"): True}
    u = m.write("undo", "curator:ben", value=("event", b))
    assert m.labels()[0] == {("0.jpg", "a"): True}
    m.write("undo", "curator:ben", value=("event", u))
    assert m.labels()[0] == {("0.jpg", "a"): False} and m.labels(u)[0] == {("0.jpg", "a"): True}
