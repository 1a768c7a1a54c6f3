"""A folder as somebody might have it: text, Markdown, HTML, PDF and CSV files of a tool library,
in English and Chinese, without a single label. Invented for these tests."""

from __future__ import annotations

from pathlib import Path

TEXTS = {
    "opening hours.txt": (
        "The tool library is open on Tuesday and Thursday from 17:00 to 20:00 and on Saturday from "
        "10:00 to 14:00. We are closed between Christmas and New Year and in the second week of "
        "August. Returns outside these hours: the green box beside the back door, hand tools only."
    ),
    "deposit.txt": (
        "Hand tools need no deposit. Electric tools: 20 euros. The floor sander and the tile "
        "cutter cost 60. You get it back in cash when the tool comes home clean and complete."
    ),
    "借用期限.txt": (
        "普通工具可借两周，地板打磨机只能借三天。没有人预约时可以在网上续借一次。"
        "过期每天收一欧元，最多收到工具价格的一半。"
    ),
    "rules/lost or broken.md": (
        "# Lost or broken\n\n## Broken in normal use\nTell us, that is all. Wear is on us: "
        "blades, bits and sanding belts are consumables and you pay only for new ones.\n\n"
        "## Broken by a fall or by rain\nYou pay half of the repair.\n\n## Lost\nYou pay the "
        "price of a used one, never of a new one. If you find it within a year we pay you back."
    ),
    "rules/membership.md": (
        "# Membership\n\n30 euros a year, 10 for students, people without work and everybody "
        "under 25. Families pay once. Who helps at four evenings a year pays nothing. "
        "Leaving: write to us before the first of December, otherwise it goes on for a year."
    ),
    "rules/会员.md": (
        "# 会员须知\n\n年费三十欧元，学生和二十五岁以下十欧元，一家人只交一次。"
        "一年来帮忙四个晚上的人免交会费。十二月一日以前书面说明就可以退会。"
    ),
    "workshop/safety.html": (
        "<html><head><title>Safety in the workshop</title></head><body><nav>Home</nav>"
        "<p>Nobody saws alone: a second person has to be in the room when the table saw or the "
        "router runs. Goggles hang beside the door. Long hair is tied back, gloves are taken "
        "off at every machine that turns.</p><p>Children from twelve on may use hand tools "
        "with an adult, and no machine.</p></body></html>"
    ),
    "workshop/自行车.html": (
        "<html><head><title>自行车修理之夜</title></head><body><p>每月第一个星期三晚上七点，"
        "大家一起修车。我们有支架、链条工具和常用的内胎，车闸线收成本价。电动自行车的电池"
        "和马达我们不碰，请去专门的店。</p></body></html>"
    ),
}
PAGES = {
    "manuals/floor sander.pdf": [
        "Start with grain 24 on old varnish, then 60, then 120. Never stop while the drum touches "
        "the floor.",
        "Dust can ignite by itself. Empty the bag outdoors every hour and never leave it in a "
        "bin overnight.",
        "If the machine pulls to one side, the belt is worn unevenly: change it at once.",
    ],
    "manuals/pressure washer.pdf": [
        "Use only cold, clean water. At frost the pump bursts: run it empty before you bring "
        "it back.",
        "No pressure: clean the inlet sieve and look for a kink in the hose. Wood and car tyres "
        "need the wide nozzle.",
    ],
}
GOODS = (
    ("Cordless drill 18 V", "electric, drilling", "Two batteries, charger, wood and metal bits. "
     "No hammer function, so not for concrete."),
    ("电锤", "电动, 混凝土", "可在混凝土里打孔，配六到十六毫米钻头，两千瓦以下插座就能用。"),
    ("Tile cutter, manual", "tiles, bathroom", "Up to 60 cm, for ceramic up to 12 mm thick. "
     "Quiet and dry, cuts no curves."),
    ("Wet tile saw", "electric, tiles", "Cuts curves and porcelain. Needs water and a drain."),
    ("梯子 三米", "高处", "铝合金，可放在不平的楼梯上，最重承受一百五十公斤。"),
    ("Wallpaper steamer", "walls", "Ready after ten minutes. Not on plasterboard: it swells."),
    ("红外测温仪", "测量", "找出窗户漏风的地方，也能量暖气的温度。"),
    ("Moisture meter", "measuring, walls", "For walls and screed. Shows whether it is dry "
     "enough to lay a floor."),
    ("Apple press", "garden, autumn", "20 kg of apples an hour, with mill. Booked out in "
     "October: ask in August."),
    ("绿篱剪", "花园, 电动", "充电式，刀长五十五厘米，能剪两厘米粗的枝条。"),
    ("Hedge trimmer, petrol", "garden", "Loud: by city rule not between 13 and 15 o'clock, and "
     "never on Sunday."),
    ("Sewing machine", "textile", "Sews jeans and canvas with the blue needle. Manual in the lid."),
    ("Beamer 1080p", "party", "With a screen of two metres. HDMI cable in the bag; bring your "
     "own speakers."),
    ("Raclette for eight", "kitchen, party", "Two grills. Has to come back without cheese."),
    ("儿童自行车拖车", "自行车, 孩子", "可坐两个孩子，带雨罩，最重四十公斤。"),
)
#: What members asked at the counter: half of them in the other language than the answer.
QUERIES = (
    "when can I bring a drill back on a weekend", "大件工具要交多少押金",
    "how long may I keep a tool", "晚还一天要付多少钱",
    "I dropped the jigsaw, do I have to pay", "工具丢了怎么赔",
    "what does membership cost for a student", "怎样可以不交会费",
    "can my ten year old use the saw",
    "一个人可以用台锯吗", "repair my bike together with others", "能修电动车的电池吗",
    "which sandpaper first on a painted floor", "打磨机的灰尘会起火吗", "washer has no pressure",
    "冬天用高压清洗机要注意什么", "drill holes into concrete", "切弧形瓷砖",
    "is my wall dry enough", "哪里漏风", "trim the hedge on Sunday",
    "party for watching football", "carry two kids by bike",
    "榨苹果汁",
)


def make_folder(root: Path) -> Path:
    """Write all files below root."""
    for name, text in TEXTS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name, pages in PAGES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        make_pdf(root / name, pages)
    rows = [",".join(f'"{cell}"' for cell in row) for row in GOODS]
    (root / "tools.csv").write_text(
        "\n".join(["title,tags,description", *rows, ""]), encoding="utf-8"
    )
    return root


def make_pdf(path: Path, pages: list[str]) -> None:
    """A small real PDF, written by hand: one line of text on each page."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>")
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for at, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * at} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    end += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF"
    path.write_bytes(data + end.encode())
