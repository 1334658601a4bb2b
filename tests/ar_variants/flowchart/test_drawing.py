"""Pictures of charts."""

from xml.etree import ElementTree

import pytest

from ar_variants.flowchart.drawing import Drawn, as_mermaid, as_svg, as_text, percentage

BOXES = [
    Drawn("Look up the last quoted word", False, 1.0, 0.12),
    *(
        Drawn(f"Does it say “<word & {n}>” in a rather long question?", True, 0.04, 0.002)
        for n in range(29)
    ),
]


def test_a_chart_of_thirty_boxes_is_drawn_inside_the_page_without_overlap():
    root = ElementTree.fromstring(as_svg(BOXES, "A chart"))
    width, height = float(root.get("width") or 0), float(root.get("height") or 0)
    space = "{http://www.w3.org/2000/svg}"
    shapes = [*root.iter(f"{space}rect")][1:]
    corners = [(float(one.get("x") or 0), float(one.get("y") or 0)) for one in shapes]
    for polygon in root.iter(f"{space}polygon"):
        points = [point.split(",") for point in (polygon.get("points") or "").split()]
        corners.append((min(float(x) for x, _ in points), min(float(y) for _, y in points)))
    assert len(corners) == len(BOXES) + 1
    assert len(set(corners)) == len(corners)
    assert all(x + 300 <= width and y + 66 <= height for x, y in corners)
    for x, y in corners:
        assert not any(0 < b - y < 66 for a, b in corners if a == x)
    texts = [one.text or "" for one in root.iter(f"{space}text")]
    assert "yes in 4 % · moves 0.2 % of the variance" in texts
    assert any("<word & 3>" in text for text in texts)
    assert max(len(text) for text in texts if text not in texts[:4]) < 50


@pytest.mark.parametrize("boxes", [[], BOXES[:1], BOXES])
def test_mermaid_and_text_name_every_box(boxes: list[Drawn]):
    mermaid, text = as_mermaid(boxes), as_text(boxes)
    for number, box in enumerate(boxes, start=1):
        assert f"  b{number}" in mermaid
        assert f"{number}. {box.title}" in text
    assert mermaid.count("yes, add its vector") == sum(box.is_question for box in boxes)
    assert ElementTree.fromstring(as_svg(boxes, "A chart")) is not None


def test_what_would_be_rounded_to_zero_is_told_as_less():
    assert [percentage(share) for share in (0.0, 0.004, 0.006, 0.5)] == [
        "0 %",
        "<1 %",
        "1 %",
        "50 %",
    ]
    assert [percentage(share, 1) for share in (0.0004, 0.0006)] == ["<0.1 %", "0.1 %"]
    assert "yes in &lt;1 %" in as_svg([Drawn("Is it?", True, 0.001, 0.1)], "A chart")
