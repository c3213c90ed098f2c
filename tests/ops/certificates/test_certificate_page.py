import json
import re

import pytest

from tests import certified
from tests.ops.report.test_page import CHROMIUM, Page, chromium
from tru.errors import CertificateError
from tru.ops.certificates import Facts, render
from tru.ops.certificates.envelope import sealed
from tru.ops.certificates.keys import new_key, signing_key
from tru.ops.certificates.page import timeline
from tru.ops.certificates.statement import statement
from tru.ops.workspace import Workspace


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """A signing key of one's own."""
    folder = tmp_path_factory.mktemp("keys")
    new_key(folder / "own.pem")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRU_SIGNING_KEY", str(folder / "own.pem"))
        patch.delenv("TRU_SIGNING_KEY_PASSWORD", raising=False)
        return signing_key(Workspace(folder))


@pytest.fixture(scope="module")
def page(key):
    """The page of one of the cases, as issued with this kind of key."""

    def make(name="fresh", verified=True, kind="own", **more):
        facts = certified.ALL[name]().to_dict()
        facts["times"] |= {"certified": "2026-11-23T02:40:00+00:00"}
        return render(sealed(statement(Facts(**facts | {"key": kind} | more)), key), verified)

    return make


@pytest.mark.parametrize("name", certified.ALL)
def test_it_is_whole_loads_nothing_and_prints_no_number_raw(page, name):
    text = page(name)
    found = Page(text)
    assert found.open == [] and found.tags.count("h1") == found.tags.count("main") == 1
    assert text == page(name)
    assert not set(found.tags) & {"script", "iframe", "object", "embed", "img", "form", "base"}
    assert "http:" not in text and "https:" not in text and "@import" not in text and "url(" not in text
    for attribute, value in found.attributes:
        assert not attribute.startswith("on")
        assert attribute not in ("src", "href") or value.startswith("data:")
    assert not re.search(r"\b(nan|None|null|inf|Undefined|True|False)\b|[{}]|\d\.\d{7}", found.words)
    assert found.words.count("What this does not state") == 1
    assert "never proven" not in found.words and "That forgetting is proven." in found.words


def test_it_names_the_report_of_its_night_beside_what_is_signed(page):
    text = page()
    words = Page(text).words
    assert ".tru/reports/batch-20261123-01.html in the operator's workspace" in words
    assert "Neither this line nor the report is signed." in words
    assert ".tru/reports" not in json.dumps(certified.ALL["fresh"]().to_dict())


SAYS = {
    "fresh": (
        "asked to forget one person",
        "models were trained from scratch",
        "✓ passed",
        "MLflow artifacts 1 031, 20.1 MB",
    ),
    "retrained": ("because the unlearned one had been refused", "New model trained", "first model of that night"),
    "released": ("✗ refused by the tests", "a person decided", "The loss is small; the month is over."),
    "licensed": (
        "asked to forget one item",
        "Nothing was trained from scratch",
        "Nothing old was left",
        "Nothing is known",
        "in nobody's list",
    ),
    "modality": ("one kind of content of an item", "no test looks further", "Must be exactly none, and is"),
}


@pytest.mark.parametrize("name", SAYS)
def test_what_it_says(page, name):
    words = Page(page(name)).words
    assert [said for said in SAYS[name] if said not in words] == []


def test_it_says_what_could_not_be_searched(page):
    words = Page(page()).words
    assert "dvc remote archive: could not be searched (no answer from its server)" in words
    assert "a search through 19 stores afterwards found nothing of it. 1 store could not be searched." in words


@pytest.mark.parametrize(
    ("verified", "kind", "says", "tone"),
    [
        (True, "own", "Signature checked: genuine", "yes"),
        (None, "own", "Signature not checked", "wait"),
        (False, "own", "NOT genuine", "no"),
        (True, "development", "with a development key", "no"),
        (None, "development", "with a development key", "no"),
        (False, "development", "NOT genuine", "no"),
    ],
)
def test_it_says_whether_it_was_checked_and_with_what_key(page, verified, kind, says, tone):
    text = page(verified=verified, kind=kind)
    assert says in Page(text).words and f'class="seal {tone}"' in text
    assert ("genuine and unchanged" in text) == (verified is True)


def test_words_of_others_cannot_become_markup(page):
    evil = '<script>alert(1)</script> <b> & "quoted"'
    said = certified.fields()["verdict"] | {"notes": [evil], "released": evil}
    rows = [row | {"group": evil, "name": evil} for row in certified.fields()["table"]]
    scan = [{"store": "logs", "state": "unreachable", "count": 0, "why": evil}]
    text = page(verdict=said, table=rows, scan=scan, unreachable=[evil])
    assert "<script" not in text and "<b>" not in text.replace('<b aria-hidden="true">', "")
    assert text.count("&lt;script&gt;") >= 5


def test_what_is_no_certificate_has_no_page():
    with pytest.raises(CertificateError):
        render(b"{}", None)


def test_the_timeline_is_in_order_and_inside():
    steps = timeline(certified.facts())
    assert [" ".join(step.lines) for step in steps][:2] == ["Request received", "Suppressed"]
    assert [step.x for step in steps] == sorted({step.x for step in steps}) and 0 < steps[0].x < steps[-1].x < 720
    assert [step.day for step in steps] == ["1 November 2026", "", "23 November 2026", "", "", "", ""]
    assert len(timeline(certified.modality())) == len(steps) - 1


# -- in a browser ------------------------------------------------------------------------------------------------------

LOOK = """
<script>
const said = [];
addEventListener("error", e => said.push(String(e.message)));
addEventListener("securitypolicyviolation", e => said.push("policy: " + e.violatedDirective));
addEventListener("load", () => {
  const root = document.documentElement, texts = [...document.querySelectorAll("svg.timeline text")];
  const boxes = texts.map(t => t.getBoundingClientRect());
  const f = document.querySelector("svg.timeline").getBoundingClientRect();
  const off = texts.filter((t, n) =>
    boxes[n].left < f.left - 1 || boxes[n].right > f.right + 1 || boxes[n].top < f.top - 2);
  const touching = boxes.flatMap((a, n) => boxes.slice(n + 1).filter(
    b => Math.abs(a.top - b.top) < 2 && a.left < b.right - .5 && b.left < a.right - .5));
  document.body.dataset.looked = JSON.stringify({
    said, wide: root.scrollWidth - root.clientWidth, off: off.map(t => t.textContent), touching: touching.length,
    requests: performance.getEntriesByType("resource").length,
  });
});
</script>
"""


@pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed (Debian: apt-get install chromium)")
@pytest.mark.parametrize("width", [1280, 500])
@pytest.mark.parametrize("name", ["fresh", "released"])
def test_a_browser_shows_the_certificate(page, name, width, tmp_path):
    text = page(name)
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', text).group()
    looked_at = text.replace(policy, policy.replace("style-src", "script-src 'unsafe-inline'; style-src") + LOOK)
    (tmp_path / "page.html").write_text(looked_at, encoding="utf-8")
    dom, log = chromium(tmp_path, "--dump-dom", f"--window-size={width},900")
    assert "CONSOLE" not in log
    seen = json.loads(dict(Page(dom).attributes)["data-looked"])
    assert seen == {"said": [], "wide": 0, "off": [], "touching": 0, "requests": 0}


@pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed (Debian: apt-get install chromium)")
@pytest.mark.parametrize(("name", "kind"), [("fresh", "own"), ("fresh", "development"), ("released", "own")])
def test_it_prints_on_one_a4_page(page, name, kind, tmp_path):
    (tmp_path / "page.html").write_text(page(name, kind=kind), encoding="utf-8")
    _, log = chromium(tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer")
    assert "CONSOLE" not in log
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", (tmp_path / "page.pdf").read_bytes())
    assert [(round(float(w)), round(float(h))) for w, h in boxes] == [(595, 842)]
