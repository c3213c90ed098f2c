import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests import nights
from tests.patience import HANG
from tru.cli.init import create
from tru.errors import RequestError
from tru.ops.report import newest, render, rewrite, summary, write
from tru.ops.report import page as page_module
from tru.ops.report.sequel import Link
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox, open_ledger

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
VOID = {"meta", "link", "br", "img", "hr", "input"}
US = "a process"


class Page(HTMLParser):
    """The page's text, its attributes and whether every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module", params=[*nights.ALL, "a month later"])
def page(request):
    if request.param == "a month later":
        return render(nights.fresh(), nights.history(), nights.sequel())
    return render(nights.ALL[request.param](), nights.history())


def test_it_is_whole_and_the_same_every_time(page):
    found = Page(page)
    assert found.open == [] and found.tags.count("h1") == found.tags.count("main") == 1
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert page.count("What this page does not say") == 1


def test_the_same_batch_gives_the_same_page():
    assert render(nights.fresh(), nights.history()) == render(nights.fresh(), nights.history())


def test_it_loads_and_runs_nothing(page):
    found = Page(page)
    assert not set(found.tags) & {"script", "iframe", "object", "embed", "img", "video", "audio", "form", "base"}
    assert "http:" not in page and "https:" not in page and "@import" not in page
    for name, value in found.attributes:
        assert not name.startswith("on"), name
        if name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            assert value.startswith(("#", "data:", "../certificates/req-")), value
    assert all(place.startswith("#") for place in re.findall(r"url\(([^)]*)\)", page))
    assert "default-src 'none'" in page


def test_what_is_elsewhere_is_named_and_linked_only_where_it_is_known():
    there = nights.sequel(links=[Link("Prefect run", "0a1b", "http://127.0.0.1:4200/runs/flow-run/0a1b")])
    text = render(nights.fresh(), [], there)
    assert '<dd><a href="http://127.0.0.1:4200/runs/flow-run/0a1b">0a1b</a></dd>' in text
    assert text.count("http:") == 1 and "Links open while the servers of" in text
    unknown = render(nights.fresh(), [], nights.sequel())
    assert "<dd>0a1b2c3d-0000-4000-8000-000000000000</dd>" in unknown and "http" not in unknown.partition("<body>")[2]
    assert "Links open" not in unknown


def test_words_of_the_erasure_cannot_become_markup():
    evil = "<script>alert(1)</script>"
    rows = nights.sequel().erasure
    erasure = replace(
        rows,
        unreachable=[evil],
        destroyed=[{"store": evil, "count": 1, "bytes": 0}],
        scan=[{"store": evil, "state": "unreachable", "count": 0, "why": evil}],
    )
    there = nights.sequel(erasure=erasure, certificates=[evil], links=[Link(evil, evil, f'"{evil}')])
    assert "<script" not in render(nights.fresh(), [], there)


def test_no_number_is_printed_raw(page):
    words = Page(page).words
    assert not re.search(r"\b(nan|None(?! of)|null|inf|Undefined|True|False)\b", words)
    assert not re.search(r"\{|\}|\[\w*\]|\d\.\d{7}", words)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fresh", "Passed 40 people, 2 items and 20 single interactions were forgotten"),
        ("licensed", "Under licence"),
        ("retrained", "The unlearned model: the gate said no"),
        ("retrained", "The retrained model: the gate said yes"),
        ("held", "tru batch release --reason TEXT"),
        ("released", "The loss is small; the month is over."),
        ("not found", "2 requests not found"),
        ("half way", "Under way"),
        ("stopped", "fell by more than half"),
        ("retired", "Serving now no model nobody is left"),
        ("withdrawn", "Every request was taken out"),
        ("without numbers", "Held: a person must decide"),
    ],
)
def test_what_it_says(name, says):
    assert says in Page(render(nights.ALL[name](), [])).words


@pytest.mark.parametrize(
    ("name", "verdicts"), [("fresh", 1), ("retrained", 2), ("half way", 0), ("not found", 0), ("again", 0)]
)
def test_each_verdict_has_its_table(name, verdicts):
    assert render(nights.ALL[name](), []).count('class="judgement"') == verdicts


def test_charts_are_drawn_where_there_are_numbers():
    drawn = {name: render(make(), []).count('class="chart"') for name, make in nights.ALL.items()}
    assert drawn["fresh"] == drawn["licensed"] == drawn["held"] == 2 and drawn["old form"] == 1
    assert drawn["not found"] == drawn["half way"] == drawn["again"] == 0


def test_words_of_others_cannot_become_markup():
    evil = '<script>alert(1)</script> `<b>` & "quoted"'
    gate = nights.verdict([nights.row("membership_auc", 0.9, 0.5, fault="utility")], notes=[evil], licences=[evil])
    gate["reasons"] = [evil]
    gate["table"][0] |= {"group": evil, "name": evil}
    facts = nights.facts(gate=gate, retrain=gate, released=evil, held=[evil], version=evil, regimes={evil: 2})
    facts["evaluate"]["models"][evil] = nights.numbers(0.1, 0.1, 0.1)
    for verdict, outcome in (("fail", "retrained"), ("pass", "unlearned"), ("fail", "held")):
        text = render(replace(nights.fresh(), facts=facts, outcome=outcome, verdict=verdict), [])
        assert "<script" not in text and "<b>" not in text.replace("<b>✗", "").replace("<b>✓", "").replace("<b>·", "")
        assert "&lt;script&gt;alert(1)&lt;/script&gt; <code>&lt;b&gt;</code>" in text


@pytest.mark.parametrize(
    "facts", [{}, {"gate": None, "evaluate": None, "unlearn": None}, {"evaluate": {"models": None}}]
)
@pytest.mark.parametrize("outcome", [None, "held", "unlearned", "retrained", "not found"])
def test_facts_may_be_missing(facts, outcome):
    assert Page(render(replace(nights.fresh(), facts=facts, outcome=outcome), [])).open == []


# -- in a workspace --------------------------------------------------------------------------------------------------


@pytest.fixture
def ws(tmp_path):
    return create(tmp_path / "shop")


def a_batch(ws, subjects, **facts):
    inbox = open_inbox(ws)
    inbox.add_all([Subject.of(user=user) for user in subjects])
    batch = inbox.claim(US).id
    if facts:
        inbox.advance(batch, US, "cut", "cut", **facts)
    return batch


def finish(ws, batch, outcome="unlearned"):
    inbox = open_inbox(ws)
    inbox.advance(batch, US, "promote", "promoted", **nights.facts())
    inbox.close(batch, US, outcome, "pass", {"total": 12.0})


def test_the_file_is_whole_replaced_and_names_nobody(ws):
    batch = a_batch(ws, ["u-anna-karenina", "u-leo"], regimes={"users": 2}, forgotten=2)
    file = write(ws, batch)
    assert file == ws.state / "reports" / f"{batch}.html"
    assert "Under way" in file.read_text(encoding="utf-8")
    finish(ws, batch)
    assert write(ws, batch) == file and "Passed" in Page(file.read_text(encoding="utf-8")).words
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert not re.search(r"anna|u-leo|req-", file.read_text(encoding="utf-8"))


def test_the_nights_before_are_in_the_picture(ws):
    first = a_batch(ws, ["u-1"])
    finish(ws, first)
    second = a_batch(ws, ["u-2"])
    finish(ws, second)
    assert "earlier, served" in write(ws, second).read_text(encoding="utf-8")
    assert "earlier, served" not in write(ws, first).read_text(encoding="utf-8")


def test_an_old_batch_is_shown_among_the_nights_before_it_however_many_came_after(ws, monkeypatch):
    monkeypatch.setattr(page_module, "NIGHTS", 2)
    batches = []
    for night in range(6):
        batches.append(a_batch(ws, [f"u-{night}"]))
        finish(ws, batches[-1])
    inbox = open_inbox(ws)
    before = [page_module._nights_before(inbox, inbox.batch(batch)) for batch in batches]
    assert [[one.id for one in found] for found in before] == [batches[max(n - 2, 0) : n][::-1] for n in range(6)]


def test_a_report_made_again_says_who_serves_now_and_who_served_then(ws):
    first = a_batch(ws, ["u-1"])
    finish(ws, first)
    crown(ws, "2", batch=first)
    words = Page(write(ws, first).read_text(encoding="utf-8")).words
    assert "Serving now version 2 respects the first 1 deletion" in words and "serves now" not in words
    crown(ws, "3", batch=None)
    words = Page(write(ws, first).read_text(encoding="utf-8")).words
    assert "Serving now version 3 version 2 of this night served until" in words
    assert "became champion as version 2. Version 3 serves now." in words


def test_a_report_made_again_goes_on_to_erased_and_certified(ws):
    batch = a_batch(ws, ["u-anna-karenina", "u-leo"])
    finish(ws, batch)
    words = Page(write(ws, batch).read_text(encoding="utf-8")).words
    assert "Erased …" in words and "were still there" in words and "Certified ✓" not in words
    destroyed = [{"store": "dvc cache", "count": 3, "bytes": 12}]
    scan = [{"store": "data", "state": "not found", "count": 0, "why": ""}]
    open_ledger(ws).append("erasure", batch, batch=batch, mark=2, destroyed=destroyed, scan=scan, unreachable=[])
    ws.certificates.mkdir(parents=True)
    mine, another = open_inbox(ws).list(batch=batch)[0].id, "req-ffffffffffffffff"
    for request in (mine, another):
        (ws.certificates / f"{request}.json").write_text("{}")
    text = write(ws, batch).read_text(encoding="utf-8")
    words = Page(text).words
    assert "Erased ✓ 3 objects Certified ✓ 1 request" in words and "before the erasure" not in words
    assert f'href="../certificates/{mine}.json"' in text and another not in text
    assert str(ws.root) not in text and not re.search(r"anna|u-leo", text)


def test_a_page_that_cannot_be_written_anew_stops_nothing(ws, caplog):
    rewrite(ws, "batch-20200101-01")
    assert [record.getMessage() for record in caplog.records] == ["the report could not be written (RequestError)"]


def test_the_batch_in_short_names_its_report(ws):
    batch = a_batch(ws, ["u-1"])
    finish(ws, batch)
    assert f"- Report: `{ws.reports / f'{batch}.html'}`" in summary(ws, batch)


def crown(ws, version, batch):
    facts = {"version": version, "previous": None, "why": "unlearned", "batch": batch}
    open_ledger(ws).append("champion", f"champion/{version}", **facts)


def test_the_newest_batch_is_one_that_there_is_something_to_say_of(ws):
    with pytest.raises(RequestError, match="`tru run`"):
        newest(ws)
    first = a_batch(ws, ["u-1"])
    with pytest.raises(RequestError, match="`tru requests add`"):
        newest(ws)
    finish(ws, first)
    assert newest(ws) == first
    second = a_batch(ws, ["u-2"])
    assert newest(ws) == first
    open_inbox(ws).advance(second, US, "cut", "cut", forgotten=1)
    assert newest(ws) == second


@pytest.mark.parametrize("batch", ["batch-20200101-01", "../../params", ""])
def test_a_batch_that_does_not_exist_writes_nothing(ws, batch):
    with pytest.raises(RequestError):
        write(ws, batch)
    assert not (ws.state / "reports").exists()


# -- in a browser ----------------------------------------------------------------------------------------------------

LOOK = """
<script>
const said = [];
addEventListener("error", e => said.push(String(e.message)));
addEventListener("securitypolicyviolation", e => said.push("policy: " + e.violatedDirective));
addEventListener("load", () => {
  const root = document.documentElement;
  const off = [...document.querySelectorAll("svg.picture text, svg.chart text")].filter(t => {
    const a = t.getBoundingClientRect(), b = t.ownerSVGElement.getBoundingClientRect();
    return a.width && (a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 2 || a.bottom > b.bottom + 2);
  });
  const crowded = [...document.querySelectorAll(".station")].filter(g => {
    const r = g.querySelector("rect").getBoundingClientRect();
    return r.width && [...g.querySelectorAll("text")].some(t => t.getBoundingClientRect().width > r.width);
  });
  const seen = [...document.querySelectorAll("svg.picture")].filter(s => s.getBoundingClientRect().width);
  document.body.dataset.looked = JSON.stringify({
    said, wide: root.scrollWidth - root.clientWidth, off: off.map(t => t.textContent),
    crowded: crowded.map(g => g.textContent), pictures: seen.length,
    requests: performance.getEntriesByType("resource").length, svg: document.querySelectorAll("svg.chart path").length,
  });
});
</script>
"""


@pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed (Debian: apt-get install chromium)")
@pytest.mark.parametrize("width", [1280, 500])
@pytest.mark.parametrize(
    "name", ["fresh", "licensed", "held", "declined then released", "without numbers", "retired", "a month later"]
)
def test_a_browser_shows_it(name, width, tmp_path):
    """Nothing is complained of, nothing loaded, nothing sticks out of the page, the picture or its box."""
    later = nights.sequel() if name == "a month later" else None
    text = render(nights.ALL.get(name, nights.fresh)(), nights.history(), later)
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', text).group()
    # The page itself forbids scripts; only for looking at it one is let in.
    looked_at = text.replace(policy, policy.replace("style-src", "script-src 'unsafe-inline'; style-src") + LOOK)
    (tmp_path / "page.html").write_text(looked_at, encoding="utf-8")
    dom, log = chromium(tmp_path, "--dump-dom", f"--window-size={width},900")
    assert "CONSOLE" not in log
    seen = json.loads(dict(Page(dom).attributes)["data-looked"])
    assert seen["said"] == [] and seen["requests"] == 0 and seen["wide"] == 0
    assert seen["off"] == [] and seen["crowded"] == [] and seen["pictures"] == 1
    assert seen["svg"] > 20 or name in ("without numbers", "retired")


@pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed (Debian: apt-get install chromium)")
def test_it_prints_on_a4_and_the_page_as_it_is_has_no_complaints(tmp_path):
    (tmp_path / "page.html").write_text(render(nights.retrained(), nights.history()), encoding="utf-8")
    _, log = chromium(tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert "CONSOLE" not in log
    printed = (tmp_path / "page.pdf").read_bytes()
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed)
    assert 2 <= len(boxes) <= 6 and {(round(float(w)), round(float(h))) for w, h in boxes} == {(595, 842)}


def chromium(folder, *options):
    """What headless chromium prints of ``page.html``, and what it logs."""
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += ["--enable-logging=stderr", "--disable-background-networking", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, *options, (folder / "page.html").as_uri()], capture_output=True, text=True, timeout=HANG, check=True
    )
    return done.stdout, done.stderr
