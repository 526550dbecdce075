"""The label spaces of PASCAL VOC 2012, Cityscapes and ADE20K."""

from __future__ import annotations

from typing import Any

from segmetrics.labels.checks import Color
from segmetrics.labels.space import LabelSpace, palette

SHIPPED = ("VOC", "CITYSCAPES", "CITYSCAPES_TRAIN_IDS", "ADE20K")

#: Colours of pixels that do not count in VOC's, Cityscapes' (unlabeled, ground, dynamic, parking,
#: rail track, guard rail, bridge, tunnel, caravan, trailer) and ADE20K's colour images.
VOC_VOID: tuple[Color, ...] = ((224, 224, 192),)
CITYSCAPES_VOID: tuple[Color, ...] = (
    (0, 0, 0), (81, 0, 81), (111, 74, 0), (250, 170, 160), (230, 150, 140), (180, 165, 180),
    (150, 100, 100), (150, 120, 90), (0, 0, 90), (0, 0, 110),
)  # fmt: skip
ADE20K_VOID: tuple[Color, ...] = ((0, 0, 0),)


def _split(names: str) -> tuple[str, ...]:
    return tuple(" ".join(name.split()) for name in names.split(","))


_VOC_NAMES = _split(
    """background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable,
    dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"""
)

#: PASCAL VOC 2012: 21 classes, 255 ("void", the objects' borders) ignored.
VOC = LabelSpace(_VOC_NAMES, palette(21), ignore_index=255)

_CITYSCAPES_NAMES = _split(
    """road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation,
    terrain, sky, person, rider, car, truck, bus, train, motorcycle, bicycle"""
)
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, *range(21, 29), 31, 32, 33)
_CITYSCAPES: dict[str, Any] = {
    "names": _CITYSCAPES_NAMES,
    "colors": [
        *("#804080", "#f423e8", "#464646", "#66669c", "#be9999", "#999999", "#faaa1e", "#dcdc00"),
        *("#6b8e23", "#98fb98", "#4682b4", "#dc143c", "#ff0000", "#00008e", "#000046", "#003c64"),
        *("#005064", "#0000e6", "#770b20"),
    ],
    "groups": {
        "flat": _CITYSCAPES_NAMES[:2],
        "construction": _CITYSCAPES_NAMES[2:5],
        "object": _CITYSCAPES_NAMES[5:8],
        "nature": _CITYSCAPES_NAMES[8:10],
        "sky": _CITYSCAPES_NAMES[10:11],
        "human": _CITYSCAPES_NAMES[11:13],
        "vehicle": _CITYSCAPES_NAMES[13:],
    },
    "things": _CITYSCAPES_NAMES[11:],
}

#: Cityscapes as encoded in ``*_labelIds.png``: of 34 ids and -1, 19 classes count.
CITYSCAPES = LabelSpace(
    **_CITYSCAPES,
    ignore_index=[i for i in range(-1, 34) if i not in _CITYSCAPES_IDS],
    id_to_class={i: index for index, i in enumerate(_CITYSCAPES_IDS)},
)

#: Cityscapes as encoded in ``*_labelTrainIds.png``: 19 classes, 255 ignored.
CITYSCAPES_TRAIN_IDS = LabelSpace(**_CITYSCAPES, ignore_index=255)

_ADE20K_NAMES = _split(
    """wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk,
    person, earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf,
    house, sea, mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub,
    railing, cushion, base, box, column, signboard, chest of drawers, counter, sand, sink,
    skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table, pillow,
    screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill,
    bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade
    machine, hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth,
    television, airplane, dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle,
    buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything, swimming
    pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step,
    tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture,
    hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin
    board, shower, radiator, glass, clock, flag"""
)
_ADE20K_COLORS = """
787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846
08ff33 ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc
ff095c 7009ff 08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14
ff0829 ff0599 0633ff eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff
ff4700 00ebff 00adff 1f00ff 0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00
008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014
ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900
00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070
5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff
ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff
4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""

#: ADE20K's SceneParsing-150: 150 classes, stored as 1 to 150; 0 ("other") ignored.
ADE20K = LabelSpace(
    _ADE20K_NAMES,
    [f"#{color}" for color in _ADE20K_COLORS.split()],
    ignore_index=0,
    id_to_class={index + 1: index for index in range(150)},
)
